"""A few dozen histories, that one replays, and that the simulation notices what is broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.breakage import SAFEGUARDS, without
from tests.simulation.faults import Broken
from tests.simulation.stage import Stage
from tests.support.postgres import TestServer

pytestmark = pytest.mark.simulation

# Long enough for records to become due, a run to take them, and certificates to say so.
_DAYS = 36
# Histories that are tried until one shows what a lost safeguard leads to.
_TRIES = 8


@pytest.fixture(scope="module")
def stage(postgres_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(postgres_server, Path(tmp_path_factory.mktemp("simulation")))
    yield made
    made.close()


@pytest.mark.parametrize("first", range(1, 25, 4))
def test_every_invariant_holds(stage: Stage, first: int) -> None:
    for seed in range(first, first + 4):
        try:
            stage.play(seed, _DAYS)
        except Broken as broken:
            pytest.fail(f"invariant {broken}\nagain: make simulate SEEDS=1 FIRST={seed} DAYS={_DAYS}")


def test_a_seed_replays_exactly(stage: Stage) -> None:
    first = stage.play(101, 10)
    another = stage.play(102, 10)
    again = stage.play(101, 10)

    assert again == first
    assert another.trace != first.trace


@pytest.mark.parametrize("name", SAFEGUARDS)
def test_a_lost_safeguard_is_noticed(stage: Stage, name: str) -> None:
    noticed = next(
        (sentence for seed in range(1, 1 + _TRIES) if (sentence := _without(stage, name, seed))), ""
    )

    assert noticed.startswith(f"{SAFEGUARDS[name].invariant}:")


def _without(stage: Stage, name: str, seed: int) -> str:
    """What is broken in a history without a safeguard; empty where nothing is."""
    try:
        with without(name):
            stage.play(seed, SAFEGUARDS[name].days, SAFEGUARDS[name].favoured)
    except Broken as broken:
        return str(broken)
    return ""

"""Some histories, that one replays, and that the simulation notices what is broken. `make simulate` plays as many as you like."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.simulation.breakage import SAFEGUARDS, without
from tests.simulation.faults import Broken
from tests.simulation.stage import Stage
from tests.support.postgres import TestServer

# In one process, for the stage takes as long to set up as a history to play.
pytestmark = [pytest.mark.simulation, pytest.mark.xdist_group("simulation")]

# First seed, how many, and days of each: short ones, and some that are long enough for records to become due, a run to take them, and
# certificates to say so.
_HISTORIES = [(1, 3, 8), (21, 1, 36)]
# Histories that are tried until one shows what a lost safeguard leads to.
_TRIES = 8


@pytest.fixture(scope="module")
def stage(postgres_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50)
    )  # what goes wrong here is meant to
    made = Stage(postgres_server, Path(tmp_path_factory.mktemp("simulation")))
    yield made
    made.close()
    structlog.reset_defaults()


@pytest.mark.parametrize(("first", "many", "days"), _HISTORIES)
def test_every_invariant_holds(stage: Stage, first: int, many: int, days: int) -> None:
    for seed in range(first, first + many):
        try:
            stage.play(seed, days)
        except Broken as broken:
            pytest.fail(f"invariant {broken}\nagain: make simulate SEEDS=1 FIRST={seed} DAYS={days}")


def test_a_seed_replays_exactly(stage: Stage) -> None:
    first = stage.play(101, 6)
    another = stage.play(102, 6)
    again = stage.play(101, 6)

    assert again == first
    assert another.trace != first.trace


def test_the_program_names_the_invariant_the_seed_and_how_to_see_it_again() -> None:
    program = [sys.executable, "-m", "tests.simulation", "--first", "2", "--seeds", "1", "--days", "8"]
    program += ["--workers", "1", "--break", "zdr"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == 1
    assert "invariant 1: content of org_" in ended.stdout
    broken = re.search(r"^seed (2): invariant 1: ", ended.stdout, re.MULTILINE)
    assert broken is not None
    assert f"again: make simulate SEEDS=1 FIRST={broken[1]} DAYS=8 BREAK=zdr" in ended.stdout


@pytest.mark.parametrize("name", [name for name, out in SAFEGUARDS.items() if out.is_quick])
def test_a_lost_safeguard_is_noticed(stage: Stage, name: str) -> None:
    # What else it breaks may be noticed first; what it is there for has to be.
    number = f"{SAFEGUARDS[name].invariant}:"
    noticed = []
    first = SAFEGUARDS[name].first
    for seed in range(first, first + _TRIES):
        noticed.append(_without(stage, name, seed))
        if noticed[-1].startswith(number):
            return
    pytest.fail(f"{number} nobody noticed, but {[one for one in noticed if one]}")


def _without(stage: Stage, name: str, seed: int) -> str:
    """What is broken in a history without a safeguard; empty where nothing is."""
    try:
        with without(name):
            stage.play(seed, SAFEGUARDS[name].days, SAFEGUARDS[name].favoured)
    except Broken as broken:
        return str(broken)
    return ""

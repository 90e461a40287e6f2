"""Holds that end, or are told of, while the erasure of an end user catches what they are on: nothing is left that nobody lets go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.logging.store import Tx, standing_holds
from services.logging.store.standing_holds import Standing
from services.logging.store.tables import confidential_rows, holds, interactions, retained
from services.logging.store.tables import standing_holds as standing
from tests.support.meanwhile import Another, meanwhile
from tests.unit.logging.peers import ORG
from tests.unit.logging.test_lifecycle import HOLD, release, rows
from tests.unit.logging.test_standing_holds import match
from tests.unit.logging.test_subjects import WHO, ask, erase, said, status
from tests.unit.logging.world import World


def disclose(world: World) -> bool:
    return bool(world.lifecycle.DiscloseHold(lifecycle_pb2.DiscloseHoldRequest(hold_id=HOLD)).done)


def match_in_secret(world: World) -> None:
    world.lifecycle.HoldMatching(
        lifecycle_pb2.HoldMatchingRequest(
            hold_id=HOLD,
            organization_id=ORG,
            kind=holds_pb2.HOLD_KIND_LEGAL,
            scope=holds_pb2.HoldScope(end_user=WHO),
            confidential=True,
        )
    )


def erase_beside(world: World, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Erases the end user; the act begins when a piece has read the holds that stand and has caught nothing yet, and is over."""
    read = standing_holds.of_organization
    reads: list[Another[object] | None] = []

    def of_organization(tx: Tx, organization_id: str) -> list[Standing]:
        found = read(tx, organization_id)
        reads.append(meanwhile(tx, world.database.engine, act) if reads else None)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(standing_holds, "of_organization", of_organization)
        patched.setattr("services.logging.lifecycle.subjects._STEPS", 1)
        ask(world)
    _, beside = reads
    assert beside is not None
    beside.result()
    erase(world)


def test_a_hold_that_is_let_go_meanwhile_keeps_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    match(world, end_user=WHO)
    world.record(said(world, "x"))
    erase_beside(world, monkeypatch, lambda: release(world, HOLD))
    assert rows(world, interactions, retained, holds, standing) == [0, 0, 0, 0]
    assert status(world).held == 0


def test_of_a_hold_that_is_told_of_meanwhile_nothing_stays_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    match_in_secret(world)
    world.record(said(world, "x"))
    erase_beside(world, monkeypatch, lambda: disclose(world))
    assert rows(world, confidential_rows, retained, holds, standing) == [0, 1, 1, 1]
    assert status(world).held == 1
    assert release(world, HOLD) == 1


@pytest.mark.parametrize("is_secret", [False, True])
def test_the_log_says_that_a_hold_ended_that_kept_nothing(world: World, *, is_secret: bool) -> None:
    """A restored database lets it stand until then."""
    if is_secret:
        match_in_secret(world)
    else:
        match(world, end_user=WHO)
    release(world, HOLD)
    release(world, HOLD)
    world.jobs["outbox"].step()
    told = [one for one in world.peers.audited if one.kind == "rows.released"]
    assert [(one.organization_id, list(one.subjects), dict(one.facts)) for one in told] == [
        ("", [HOLD, ORG], {"removed": "0"}) if is_secret else (ORG, [HOLD], {"removed": "0"})
    ]

"""Holds that end, or are told of, while the erasure of an end user catches what they are on: nothing is left that nobody lets go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import text

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.logging.store import standing_holds
from services.logging.store.standing_holds import Standing
from services.logging.store.tables import confidential_rows, holds, interactions, retained
from services.logging.store.tables import standing_holds as standing
from services.logging.store import Tx
from tests.unit.logging.peers import ORG
from tests.unit.logging.test_lifecycle import HOLD, release, rows
from tests.unit.logging.test_standing_holds import match
from tests.unit.logging.test_subjects import WHO, erase, said, status
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


def waits_or_is_over(world: World, over: threading.Event) -> bool:
    """Whether somebody waits for an advisory lock, or the act is over."""
    with world.database.transaction() as tx:
        asked = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
        )
        return over.is_set() or bool(tx.execute(text(asked)).scalar_one())


def erase_beside(world: World, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> threading.Event:
    """Erases the end user; the act begins when a piece has read the holds that stand and has caught nothing yet. Set when it is over."""
    read, over, asked = standing_holds.of_organization, threading.Event(), 0

    def carry_out() -> None:
        act()
        over.set()

    def of_organization(tx: Tx, organization_id: str) -> Sequence[Standing]:
        nonlocal asked
        found, asked = read(tx, organization_id), asked + 1
        if asked == 2:
            threading.Thread(target=carry_out, daemon=True).start()
            deadline = time.monotonic() + 10
            while not waits_or_is_over(world, over):
                assert time.monotonic() < deadline
        return found

    monkeypatch.setattr(standing_holds, "of_organization", of_organization)
    erase(world)
    return over


def test_a_hold_that_is_let_go_meanwhile_keeps_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    match(world, end_user=WHO)
    world.record(said(world, "x"))
    assert erase_beside(world, monkeypatch, lambda: release(world, HOLD)).wait(10)
    assert rows(world, interactions, retained, holds, standing) == [0, 0, 0, 0]
    assert status(world).held == 0


def test_of_a_hold_that_is_told_of_meanwhile_nothing_stays_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    match_in_secret(world)
    world.record(said(world, "x"))
    assert erase_beside(world, monkeypatch, lambda: disclose(world)).wait(10)
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

"""A record by itself is written in one round trip, in which nobody looks at a fence before: the database does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, select, text

from services.logging.store import stripes, writing
from services.logging.store.tables import (
    billing_usage,
    interactions,
    stored_counts,
    unscreened,
    usage_arrivals,
)
from shared.database import IDLE_SESSION, Database
from shared.driver import execute, later
from shared.errors import KeptError
from tests.unit.logging.peers import NOON, ORG
from tests.unit.logging.test_ingest import count, outcomes
from tests.unit.logging.world import World


def close_organization(tx: Connection) -> None:
    stripes.close_organization(tx, ORG, NOON)


def close_day(tx: Connection) -> None:
    stripes.close_day(tx, NOON.date(), NOON)


def fence_end_user(tx: Connection) -> None:
    fence = "INSERT INTO subject_fences VALUES (:organization, 'u1', :below, :at, 'erasure_x')"
    tx.execute(text(fence), {"organization": ORG, "below": "ff" * 16, "at": NOON})


@pytest.fixture
def warm(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A service that wrote one record, and can write another in no other way than by itself."""
    assert outcomes(world.record(world.interaction())) == ["STORED"]

    def refuse(*_: object) -> None:
        raise AssertionError("the long way was taken")

    monkeypatch.setattr(writing, "write", refuse)
    return world


def test_all_that_belongs_to_a_record_comes_with_it(warm: World) -> None:
    assert outcomes(warm.record(warm.interaction(text="alone"))) == ["STORED"]
    with warm.database.transaction() as tx:
        assert tx.execute(select(stored_counts.c.records, stored_counts.c.records_with_content)).one() == (
            2,
            2,
        )
        assert tx.execute(select(func.count()).select_from(unscreened)).scalar_one() == 2
        assert tx.execute(select(func.count()).select_from(usage_arrivals)).scalar_one() == 2
    while warm.jobs["usage"].step():
        pass
    with warm.database.transaction() as tx:
        assert tx.execute(select(func.sum(billing_usage.c.calls))).scalar_one() == 2


@pytest.mark.parametrize("fence", [close_organization, close_day, fence_end_user])
def test_a_fence_that_is_raised_while_it_waits_is_seen(
    world: World, fence: Callable[[Connection], None]
) -> None:
    assert outcomes(world.record(world.interaction())) == ["STORED"]
    receipts: list[str] = []
    late = world.interaction(text="late")
    writer = threading.Thread(target=lambda: receipts.extend(outcomes(world.record(late))))
    with world.database.transaction() as tx:
        stripes.take_all(tx)
        writer.start()
        waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not tx.execute(waits).scalar_one():
            assert writer.is_alive()
        fence(tx)
    writer.join(20)
    assert receipts == ["CLOSED"]
    assert count(world, "interactions") == 1
    assert count(world, "unscreened") == 1
    assert count(world, "usage_arrivals") == 1


def test_another_end_users_fence_stops_nobody(warm: World) -> None:
    with warm.database.transaction() as tx:
        fence_end_user(tx)
    other = warm.interaction(text="another's")
    other.end_user = "u2"
    assert outcomes(warm.record(other)) == ["STORED"]


def test_what_is_there_is_a_duplicate(world: World) -> None:
    first = world.interaction()
    for expected in ("STORED", "DUPLICATE", "DUPLICATE"):
        again = type(first).FromString(first.SerializeToString())
        assert outcomes(world.record(again)) == [expected]
    with world.database.transaction() as tx:
        assert tx.execute(select(stored_counts.c.records)).scalar_one() == 1
        assert tx.execute(select(func.count()).select_from(interactions)).scalar_one() == 1


def test_a_session_that_the_server_ended_writes_nothing_and_the_next_call_has_another(
    database: Database,
) -> None:
    """So ends what a process slept over: the statements go to a session that is gone."""
    with database.transaction() as tx:
        assert tx.execute(text("SELECT current_setting('idle_session_timeout')::interval")).scalar_one() == (
            IDLE_SESSION
        )
        assert timedelta(0) < IDLE_SESSION <= timedelta(minutes=30)
    with database.at_once() as tx:
        pid = later(tx, "SELECT pg_backend_pid()", ())
        execute(tx, "CREATE TABLE kept_here (at int)", ())
    with database.transaction() as tx:
        tx.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid()[0][0]})
    with pytest.raises(KeptError) as refused, database.at_once() as tx:
        execute(tx, "INSERT INTO kept_here VALUES (1)", ())
    assert refused.value.name == "DATABASE_UNAVAILABLE"
    with database.at_once() as tx:
        execute(tx, "INSERT INTO kept_here VALUES (2)", ())
        found = later(tx, "SELECT at FROM kept_here", ())
    assert found() == [(2,)]


def test_what_goes_out_at_once_commits_together_or_not_at_all(database: Database) -> None:
    with database.at_once() as tx:
        execute(tx, "CREATE TABLE whole (at int PRIMARY KEY)", ())
    with pytest.raises(Exception), database.at_once() as tx:  # noqa: B017 - the driver's own error
        execute(tx, "INSERT INTO whole VALUES (1)", ())
        execute(tx, "INSERT INTO whole VALUES (1)", ())
    with database.transaction() as tx:
        assert tx.execute(text("SELECT count(*) FROM whole")).scalar_one() == 0

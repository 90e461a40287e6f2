"""Two processes at the same rows: one is in the middle of its transaction, and the other has to wait for it. Each of these fails when the
lock that it is about is taken out; docs/locks.md names them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text

from kept.logging.v1 import lifecycle_pb2
from services.logging import store as store_of_all
from services.logging.lifecycle.acts import Lifecycle
from services.logging.partitions import Partitions
from services.logging.store import partitions, stripes
from services.logging.store import retention as store
from services.logging.store.tables import dropped_counts, holds, interactions, retained, stored_counts
from shared.outbox import Outbox
from tests.support.meanwhile import meanwhile
from tests.unit.logging import test_content_erasures, test_subjects
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.test_lifecycle import (
    DAY,
    ERASURE,
    HOLD,
    RUN,
    SECOND_HOLD,
    drop,
    erase,
    hold,
    readable,
    reason_of,
    release,
    rows,
)
from tests.unit.logging.test_standing_holds import match
from tests.unit.logging.test_terms import dropped
from tests.unit.logging.world import World


def test_a_hold_that_is_being_let_go_is_not_placed_again(world: World) -> None:
    record = world.interaction()
    world.record(record)
    with world.database.transaction() as tx:
        assert not store.lock_hold(tx, HOLD)
        store.bury_hold(tx, HOLD)
        second = meanwhile(
            tx, world.database.engine, lambda: reason_of(lambda: hold(world, HOLD, record.record_id))
        )
        assert second.is_waiting
    assert second.result() == "WRONG_STATE"


def test_what_is_being_held_is_let_go_with_its_hold(world: World) -> None:
    record = world.interaction()
    world.record(record)
    with world.database.transaction() as tx:
        assert not store.lock_hold(tx, HOLD)
        stripes.take(tx, ORG)
        store.hold(tx, HOLD, ORG, [record.record_id], None)
        second = meanwhile(tx, world.database.engine, lambda: release(world, HOLD))
        assert second.is_waiting
    second.result()
    assert rows(world, holds, retained) == [0, 0]


def test_what_another_hold_begins_to_keep_stays(world: World) -> None:
    record = world.interaction(text="kept")
    world.record(record)
    hold(world, HOLD, record.record_id)
    world.travel(timedelta(days=30))
    drop(world)
    with world.database.transaction() as tx:
        stripes.take(tx, ORG)
        kept, _ = store.hold(tx, SECOND_HOLD, ORG, [record.record_id], None)
        second = meanwhile(tx, world.database.engine, lambda: release(world, HOLD))
        assert second.is_waiting
    assert (second.result(), len(kept), rows(world, holds, retained)) == (0, 1, [1, 1])


@pytest.mark.parametrize("matches", [False, True], ids=["on records", "on all that matches"])
def test_a_hold_on_what_its_last_hold_lets_go_finds_it_gone(world: World, matches: bool) -> None:
    record = world.interaction()
    world.record(record)
    hold(world, HOLD, record.record_id)
    world.travel(timedelta(days=30))
    drop(world)
    with world.database.transaction() as tx:
        stripes.take(tx, ORG)
        assert store.release(tx, HOLD, ORG, 10) == (1, None)

        def place() -> int:
            if matches:
                return len(match(world, hold_id=SECOND_HOLD).held)
            return len(hold(world, SECOND_HOLD, record.record_id).held)

        second = meanwhile(tx, world.database.engine, place)
        assert second.is_waiting
    assert (second.result(), rows(world, holds, retained)) == (0, [0, 0])


@pytest.mark.parametrize("only", [[], [ORG]], ids=["whole day", "one organization"])
def test_a_day_is_not_taken_before_what_is_being_held_of_it_is_kept(world: World, only: list[str]) -> None:
    record = world.interaction(text="kept")
    world.record(record)
    world.travel(timedelta(days=30))
    request = lifecycle_pb2.DropExpiredRequest(run_id=RUN, day=DAY.isoformat(), only_organization_ids=only)
    with world.database.transaction() as tx:
        stripes.take(tx, ORG)
        store.hold(tx, HOLD, ORG, [record.record_id], None)
        second = meanwhile(tx, world.database.engine, lambda: world.lifecycle.DropExpired(request))
        assert second.is_waiting
    taken = second.result()
    assert (taken.dropped, taken.held) == (1, 1)
    assert rows(world, interactions, retained) == [0, 1]
    assert readable(world) == ["kept"]


def test_what_is_held_a_moment_before_the_partition_goes_is_counted_as_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition goes, which waits for who copies out of it; then what holds keep is counted once more."""
    record = world.interaction()
    world.record(record)
    world.travel(timedelta(days=30))
    partition_goes = partitions.drop

    def just_before(tx: Any, day: date) -> bool:
        hold(world, HOLD, record.record_id)
        return partition_goes(tx, day)

    monkeypatch.setattr(partitions, "drop", just_before)
    assert drop(world) == (1, 1)
    assert dropped(world) == {ORG: (1, 1)}


@pytest.mark.parametrize("others", [0, 1])
def test_what_is_erased_a_moment_before_the_partition_goes_is_not_counted_as_dropped(
    world: World, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(test_subjects.said(world, "mine"), *(world.interaction() for _ in range(others)))
    world.travel(timedelta(days=30))
    while world.jobs["screening_backlog"].step():
        pass  # nothing waits in a batch any more
    partition_goes = partitions.drop

    def just_before(tx: Any, day: date) -> bool:
        assert test_subjects.erase(world).removed["interactions"] == 1
        return partition_goes(tx, day)

    monkeypatch.setattr(partitions, "drop", just_before)
    assert (drop(world), dropped(world)) == ((others, 0), {ORG: (1, 0)} if others else {})
    assert rows(world, interactions, stored_counts) == [0, 0]


def test_a_day_is_counted_once_though_a_reader_is_in_the_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=30))
    noted: list[int] = []
    tries: list[str] = []
    note, partition_goes = store.note_dropped, partitions._drop

    def write_down(tx: Any, run_id: str, counts: Any) -> None:
        noted.append(len(counts))
        note(tx, run_id, counts)

    with world.database.engine.connect() as reader:
        reader.execute(select(interactions.c.record_id)).all()

        def goes(tx: Any, name: str) -> None:
            tries.append(name)
            if len(tries) == 3:
                reader.rollback()
            partition_goes(tx, name)

        monkeypatch.setattr(store, "note_dropped", write_down)
        monkeypatch.setattr(partitions, "_drop", goes)
        assert drop(world) == (1, 0)
    assert (len(tries), noted) == (3, [1])


def test_a_drop_that_waits_for_autovacuum_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=30))
    counted: list[object] = []
    monkeypatch.setattr(partitions, "_VACUUM_TIMEOUT", "20ms")
    monkeypatch.setattr(store, "_forget_counts", lambda *given: counted.append(given))
    name = partitions.partition_name(NOON.date())
    with world.database.engine.connect() as vacuum:
        vacuum.execute(text(f"LOCK TABLE {name} IN SHARE UPDATE EXCLUSIVE MODE"))
        assert reason_of(lambda: drop(world)) == "DATABASE_UNAVAILABLE"
    assert counted == [], "who counts holds what others wait for"


def test_an_organization_that_is_erased_as_its_day_goes_is_counted_once(world: World) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=30))

    def erase_rows() -> int:
        with world.database.transaction() as tx:
            stripes.close_organization(tx, ORG, NOON)
            return store.erase(tx, ORG, ERASURE, NOON)["interactions"]

    with world.database.transaction() as tx:
        stripes.close_day(tx, DAY, NOON)
    with world.database.transaction() as tx:
        [count] = store.drop_day(tx, DAY, RUN, NOON)
        second = meanwhile(tx, world.database.engine, erase_rows)
        assert second.is_waiting
    assert (count.records, second.result(), rows(world, dropped_counts)) == (1, 0, [0])


def test_nobody_waits_while_a_day_that_goes_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partition takes everybody's way to all days until the transaction ends, so what there is more of with each organization is
    written before."""
    world.record(world.interaction(), world.interaction(OTHER))
    world.travel(timedelta(days=30))
    written: list[str] = []
    statements_behind: list[str] = []
    partition_goes = partitions.drop

    def watch(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        statements_behind.append(" ".join(statement.split()))

    def goes(tx: Any, day: date) -> bool:
        written.extend(
            tx.execute(
                select(dropped_counts.c.organization_id).order_by(dropped_counts.c.organization_id)
            ).scalars()
        )
        there = partition_goes(tx, day)
        event.listen(tx, "before_cursor_execute", watch)
        return there

    monkeypatch.setattr(partitions, "drop", goes)
    assert drop(world) == (2, 0)
    assert written == [ORG, OTHER]
    assert statements_behind
    assert not [one for one in statements_behind if "data_keys" in one or "INTO dropped_counts" in one]


def test_a_day_that_two_processes_drop_is_dropped_once(world: World) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=30))
    with world.database.transaction() as tx:
        stripes.close_day(tx, DAY, NOON)
    with world.database.transaction() as tx:
        store.drop_day(tx, DAY, RUN, NOON)
        second = meanwhile(tx, world.database.engine, lambda: drop(world))
        assert second.is_waiting
    assert second.result() == drop(world) == (1, 0)


def test_a_day_is_closed_after_who_writes_to_it(world: World) -> None:
    def close() -> None:
        with world.database.transaction() as tx:
            stripes.close_day(tx, DAY, NOON)

    with world.database.transaction() as tx:
        stripes.share(tx, [ORG])
        assert stripes.closed(tx, [ORG], [DAY]) == (set(), set())
        second = meanwhile(tx, world.database.engine, close)
        assert second.is_waiting
    second.result()


@pytest.mark.parametrize("what", ["end user", "content"])
def test_a_fence_is_raised_after_who_writes(world: World, what: str) -> None:
    before = test_content_erasures.into_force(world) if what == "content" else NOON

    def raise_fence() -> Any:
        if what == "content":
            return test_content_erasures.ask(world, before)
        return test_subjects.ask(world)

    with world.database.transaction() as tx:
        stripes.share(tx, [ORG])
        second = meanwhile(tx, world.database.engine, raise_fence)
        assert second.is_waiting
    second.result()


def test_an_erasure_waits_for_what_is_being_held(world: World) -> None:
    record = world.interaction()
    world.record(record)
    with world.database.transaction() as tx:
        stripes.take(tx, ORG)
        store.hold(tx, HOLD, ORG, [record.record_id], None)
        second = meanwhile(tx, world.database.engine, lambda: erase(world))
        assert second.is_waiting
    erased = second.result()
    assert (erased.held, erased.removed["interactions"]) == (1, 0)


def test_what_is_being_erased_is_not_held_any_more(world: World) -> None:
    record = world.interaction()
    world.record(record)
    with world.database.transaction() as tx:
        stripes.close_organization(tx, ORG, NOON)
        store.erase(tx, ORG, ERASURE, NOON)
        second = meanwhile(tx, world.database.engine, lambda: hold(world, HOLD, record.record_id))
        assert second.is_waiting
    assert list(second.result().missing) == [record.record_id]
    assert rows(world, holds, retained) == [0, 0]


def test_a_longer_term_keeps_nothing_of_what_is_being_erased(world: World) -> None:
    world.record(world.interaction())
    nothing: Any = None
    outbox = Outbox(
        store_of_all.outbox, world.database, world.clock, nothing, positions=store_of_all.audit_position
    )
    lifecycle = Lifecycle(world.database, world.clock, nothing, outbox, nothing)
    with world.database.transaction() as tx:
        [stored] = store.counts_of_day(tx, DAY)
        stripes.close_organization(tx, ORG, NOON)
        store.erase(tx, ORG, ERASURE, NOON)
        second = meanwhile(tx, world.database.engine, lambda: lifecycle._keep(RUN, stored))
        assert second.is_waiting
    second.result()
    assert rows(world, interactions, retained) == [0, 0]


@pytest.mark.parametrize("what", ["end user", "content"])
def test_what_one_process_counts_of_an_erasure_another_adds_to(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.subjects._STEPS", 1)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    goes_on: Callable[[World], Any]
    status: Callable[[World], Any]
    if what == "end user":
        world.record(test_subjects.said(world, "old"))
        goes_on, status = test_subjects.ask, test_subjects.status
        table, kind = "subject_erasures", "interactions"
    else:
        world.record(world.interaction())
        before = test_content_erasures.into_force(world)
        goes_on = lambda world: test_content_erasures.ask(world, before)  # noqa: E731
        status = test_content_erasures.status
        table, kind = "content_erasures", "contents"
    goes_on(world)
    assert not status(world).done
    with world.database.transaction() as tx:
        tx.execute(text(f"SELECT 1 FROM {table} FOR UPDATE"))
        tx.execute(text(f"UPDATE {table} SET {kind} = {kind} + 100"))
        second = meanwhile(tx, world.database.engine, lambda: goes_on(world))
        assert second.is_waiting
    second.result()
    for _ in range(20):
        goes_on(world)
    assert (status(world).done, status(world).removed[kind]) == (True, 101)


def test_two_processes_that_need_a_partition_make_one(world: World) -> None:
    day = DAY + timedelta(days=9)
    with world.database.transaction() as tx:
        assert partitions.make(tx, day)
        second = meanwhile(
            tx,
            world.database.engine,
            lambda: Partitions(world.database, world.clock, days_ahead=1).require({day}),
        )
        assert second.is_waiting
    second.result()
    with world.database.transaction() as tx:
        assert partitions.exists(tx, day)

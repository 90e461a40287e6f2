"""What retention asks: holding, dropping, erasing; each twice, and in the wrong order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import ingest_pb2, lifecycle_pb2, read_pb2
from services.logging.lifecycle.acts import Lifecycle
from services.logging.store import partitions
from services.logging.store import retention as store
from services.logging.store.tables import (
    data_keys,
    erasure_progress,
    interactions,
    retained,
    stored_counts,
    unscreened,
)
from shared.errors import KeptError, Reason
from shared.ids import new_record_id
from tests.unit.logging.peers import GRANT, NOON, ORG, OTHER, ZDR
from tests.unit.logging.test_ingest import outcomes
from tests.unit.logging.world import World

DAY = NOON.date()
HOLD, SECOND_HOLD = ("hold_" + letter * 26 for letter in "hj")
RUN = "run_" + "r" * 26
ERASURE = "erasure_" + "e" * 26


def reason_of(act: Callable[[], Any]) -> str:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value.name


def hold(
    world: World, hold_id: str, *ids: bytes, organization_id: str = ORG
) -> lifecycle_pb2.HoldRecordsResponse:
    answer: lifecycle_pb2.HoldRecordsResponse = world.lifecycle.HoldRecords(
        lifecycle_pb2.HoldRecordsRequest(hold_id=hold_id, organization_id=organization_id, record_ids=ids)
    )
    return answer


def release(world: World, hold_id: str) -> int:
    answer = world.lifecycle.ReleaseRecords(lifecycle_pb2.ReleaseRecordsRequest(hold_id=hold_id))
    return int(answer.removed)


def drop(world: World, day: str = DAY.isoformat()) -> tuple[int, int]:
    answer = world.lifecycle.DropExpired(lifecycle_pb2.DropExpiredRequest(run_id=RUN, day=day))
    return answer.dropped, answer.held


def close(world: World, organization_id: str = ORG) -> None:
    """Nothing is taken for the organization any more, by settings' word."""
    world.peers.set_organization(organization_id, closed=True)
    world.refresh()


def erase(world: World, organization_id: str = ORG) -> lifecycle_pb2.EraseOrganizationResponse:
    """Of one that is closed."""
    close(world, organization_id)
    answer: lifecycle_pb2.EraseOrganizationResponse = world.lifecycle.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    return answer


def stored_days(world: World, page_size: int = 0) -> list[tuple[str, str, int, int, int]]:
    found: list[tuple[str, str, int, int, int]] = []
    token = ""
    while True:
        page = world.lifecycle.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(
                through_day="2026-12-31", page_size=page_size, page_token=token
            )
        )
        found += [
            (one.day, one.organization_id, one.records, one.records_with_content, one.held)
            for one in page.days
        ]
        token = page.next_page_token
        if not token:
            return found


def readable(world: World) -> list[str]:
    world.peers.expires_at = world.clock.now() + timedelta(hours=1)
    asked = read_pb2.ReadInteractionsRequest(
        grant_id=GRANT, organization_id=ORG, detail=grants_pb2.DETAIL_FULL
    )
    return [one.record.content.prompt[0].parts[0].text for one in world.read.ReadInteractions(asked)]


def rows(world: World, *tables: Any) -> list[int]:
    with world.database.transaction() as tx:
        return [tx.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_a_day_is_dropped_with_its_keys_and_counts_and_what_is_held_stays_readable(world: World) -> None:
    kept, gone, others = (
        world.interaction(text="kept"),
        world.interaction(text="gone"),
        world.interaction(OTHER),
    )
    world.record(kept, gone, others, world.interaction(ZDR))
    held = hold(world, HOLD, kept.record_id)
    assert [(len(one.data_key_id), len(one.sealed_data_key)) for one in held.held] == [(16, 1168)]
    assert stored_days(world, page_size=1) == [
        (DAY.isoformat(), ORG, 2, 2, 1),
        (DAY.isoformat(), OTHER, 1, 1, 0),
        (DAY.isoformat(), ZDR, 1, 0, 0),
    ]
    assert reason_of(lambda: drop(world)) == "NOT_DUE"
    world.travel(timedelta(days=29, hours=10))
    assert readable(world) == ["kept"]
    assert drop(world) == (4, 1)
    assert drop(world) == (4, 1)
    assert rows(world, interactions, data_keys, stored_counts, retained) == [0, 0, 0, 1]
    assert readable(world) == ["kept"]
    counts = world.lifecycle.ListDroppedCounts(lifecycle_pb2.ListDroppedCountsRequest(day=DAY.isoformat()))
    assert {one.organization_id: (one.records, one.held) for one in counts.days} == {
        ORG: (2, 1),
        OTHER: (1, 0),
        ZDR: (1, 0),
    }
    oldest = world.lifecycle.GetOldest(lifecycle_pb2.GetOldestRequest())
    assert (oldest.oldest_day, oldest.held) == ("", 1)
    # The same hold again still finds what it keeps; another one too; what is gone is named.
    assert [one.record_id for one in hold(world, HOLD, kept.record_id).held] == [kept.record_id]
    again = hold(world, SECOND_HOLD, kept.record_id, gone.record_id)
    assert ([one.record_id for one in again.held], list(again.missing)) == (
        [kept.record_id],
        [gone.record_id],
    )
    assert (release(world, HOLD), release(world, HOLD)) == (0, 0)
    assert readable(world) == ["kept"]
    assert (release(world, SECOND_HOLD), release(world, SECOND_HOLD)) == (1, 1)
    assert reason_of(lambda: hold(world, SECOND_HOLD, kept.record_id)) == "WRONG_STATE"
    assert readable(world) == []
    assert rows(world, retained, unscreened) == [0, 0]
    world.jobs["outbox"].step()
    kinds = [one.kind for one in world.peers.audited]
    assert kinds.count("partition.dropped") == 1
    assert kinds.count("rows.released") == 2


def test_a_hold_that_was_let_go_before_it_came_keeps_nothing(world: World) -> None:
    record = world.interaction()
    world.record(record)
    assert release(world, HOLD) == 0
    assert reason_of(lambda: hold(world, HOLD, record.record_id)) == "WRONG_STATE"
    assert rows(world, retained) == [0]


def test_a_day_is_due_only_by_every_organizations_rule(world: World) -> None:
    world.record(world.interaction(), world.interaction(OTHER))
    world.peers.set_rule(OTHER, days=60)
    world.travel(timedelta(days=40))
    assert reason_of(lambda: drop(world)) == "NOT_DUE"
    world.travel(timedelta(days=19, hours=9))
    assert reason_of(lambda: drop(world)) == "NOT_DUE"
    world.travel(timedelta(hours=2))
    assert drop(world) == (2, 0)


def test_what_is_destroyed_must_be_due_by_a_clock_that_is_five_seconds_off(world: World) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=29, hours=10))
    world.peers.set_rule(ORG, days=90, at=world.clock.now() + timedelta(seconds=4))
    world.refresh()
    assert reason_of(lambda: drop(world)) == "NOT_DUE"


def test_without_rules_nothing_is_dropped(world: World) -> None:
    world.record(world.interaction())
    world.clock.advance(timedelta(days=60))
    assert reason_of(lambda: drop(world)) == "LEASE_LAPSED"
    assert rows(world, interactions) == [1]


def test_a_day_without_a_partition_is_closed_once_no_record_can_come(world: World) -> None:
    assert reason_of(lambda: drop(world)) == "NOT_DUE"
    assert reason_of(lambda: drop(world, "2026-03-09")) == "NOT_DUE"
    assert drop(world, "2026-03-01") == (0, 0)
    assert drop(world, "2026-03-01") == (0, 0)
    assert reason_of(lambda: drop(world, "2026-02-30")) == "INVALID_ARGUMENT"
    with world.database.transaction() as tx:
        assert not partitions.make(tx, DAY - timedelta(days=9))


def test_a_drop_that_a_reader_stops_goes_on_when_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.acts._DROP_TRIES", 2)
    world.record(world.interaction())
    world.travel(timedelta(days=40))
    with world.database.transaction() as reader:
        reader.execute(select(interactions.c.record_id))
        assert reason_of(lambda: drop(world)) == "DATABASE_UNAVAILABLE"
    assert rows(world, interactions) == [1]
    assert drop(world) == (1, 0)


def test_a_repeated_drop_gives_the_numbers_of_the_first_whatever_was_erased_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(world.interaction(), world.interaction(), world.interaction(OTHER))
    world.travel(timedelta(days=30))
    through = Lifecycle._drop_partition

    def killed(*given: Any) -> None:
        through(*given)
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "killed before it could answer")

    with monkeypatch.context() as patch:
        patch.setattr(Lifecycle, "_drop_partition", killed)
        assert reason_of(lambda: drop(world)) == "DATABASE_UNAVAILABLE"
    world.start()
    erase(world)
    assert (drop(world), drop(world)) == ((3, 0), (3, 0))


def test_a_hold_and_its_release_leave_the_living_row_alone(world: World) -> None:
    record = world.interaction(text="here")
    world.record(record)
    unknown = new_record_id(NOON)
    answer = hold(world, HOLD, record.record_id, unknown)
    assert list(answer.missing) == [unknown]
    assert release(world, HOLD) == 0
    assert rows(world, interactions, retained) == [1, 0]
    assert readable(world) == ["here"]
    # Another organization's hold does not reach it.
    other = hold(world, SECOND_HOLD, record.record_id, organization_id=OTHER)
    assert list(other.missing) == [record.record_id]


def test_zero_data_retention_rows_are_held_without_keys(world: World) -> None:
    record = world.interaction(ZDR)
    world.record(record)
    [kept] = hold(world, HOLD, record.record_id, organization_id=ZDR).held
    assert (kept.data_key_id, kept.sealed_data_key) == (b"", b"")


def test_an_erasure_leaves_what_is_held_and_completes_with_the_last_hold(world: World) -> None:
    kept, gone, others = world.interaction(text="kept"), world.interaction(), world.interaction(OTHER)
    world.record(kept, gone, others)
    hold(world, HOLD, kept.record_id)
    first = erase(world)
    assert (first.held, first.removed["interactions"], first.removed["data_keys"]) == (1, 1, 1)
    again = erase(world)
    assert (again.erased_at, again.removed, again.held) == (first.erased_at, first.removed, 1)
    assert readable(world) == ["kept"]
    assert stored_days(world) == [(DAY.isoformat(), OTHER, 1, 1, 0)]
    assert world.lifecycle.GetOldest(lifecycle_pb2.GetOldestRequest()).held == 1
    # Nothing is written behind the fence, the erased record least of all.
    receipts = world.record(gone, world.interaction())
    assert [one.outcome for one in receipts] == [ingest_pb2.OUTCOME_REFUSED] * 2
    assert release(world, HOLD) == 1
    assert erase(world).held == 0
    with world.database.transaction() as tx:
        for table in (interactions, retained, data_keys, stored_counts, unscreened):
            left = tx.execute(select(table.c.organization_id).distinct()).scalars().all()
            assert left in ([], [OTHER]), table.name


def test_an_erasure_goes_piece_by_piece_and_counts_each_row_once_whatever_dies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 2)
    made = [world.interaction(age=timedelta(hours=number)) for number in range(20)]  # of two days
    others = world.interaction(OTHER)
    world.record(*made, others)
    hold(world, HOLD, made[0].record_id, made[19].record_id)
    pieces = itertools.count()
    noted = store.note_erased

    def dies(tx: Any, organization_id: str, erasure_id: str, unscreened: int) -> None:
        noted(tx, organization_id, erasure_id, unscreened)
        if next(pieces) == 6:
            raise RuntimeError("the process is gone, and its transaction with it")

    monkeypatch.setattr(store, "note_erased", dies)
    with pytest.raises(KeptError):
        erase(world)
    with world.database.transaction() as tx:
        left = tx.execute(select(func.count()).where(interactions.c.organization_id == ORG)).scalar_one()
    assert left == 11, "what went before stays gone: seven of one day, and two of the next"
    [late] = world.record(world.interaction())
    assert late.outcome == ingest_pb2.OUTCOME_REFUSED, "the fence stood before the first row went"
    world.start()
    erased = erase(world)
    assert (erased.removed["interactions"], erased.removed["unscreened"], erased.held) == (18, 18, 2)
    assert erase(world).removed == erased.removed
    assert stored_days(world) == [(DAY.isoformat(), OTHER, 1, 1, 0)]
    with world.database.transaction() as tx:
        assert tx.execute(select(func.count()).select_from(erasure_progress)).scalar_one() == 0


def test_what_a_hold_lets_go_while_its_organization_is_erased_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = world.interaction()
    world.record(kept, world.interaction())
    hold(world, HOLD, kept.record_id)

    def dies(*_: object) -> None:
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "It died before the receipt.")

    with monkeypatch.context() as patched:
        patched.setattr(store, "erase", dies)
        with pytest.raises(KeptError):
            erase(world)
    assert rows(world, interactions, retained) == [0, 1]
    assert release(world, HOLD) == 1
    answer = erase(world)
    assert (answer.removed["interactions"], answer.held) == (1, 0)


def test_a_fence_stops_what_is_in_hand_and_removes_nothing(world: World) -> None:
    world.record(world.interaction(text="there"))
    close(world)
    asked = lifecycle_pb2.RaiseFenceRequest(organization_id=ORG, erasure_id=ERASURE)
    first = world.lifecycle.RaiseFence(asked).fenced_at
    # A policy lets it record still: as that of a process does which slept since it judged the batch.
    world.peers.set_organization(ORG)
    world.travel(timedelta(seconds=5))
    assert world.lifecycle.RaiseFence(asked).fenced_at == first
    assert outcomes(world.record(world.interaction(), world.interaction(OTHER))) == ["CLOSED", "STORED"]
    assert readable(world) == ["there"]


def test_who_is_not_closed_is_not_erased_whatever_retention_says(world: World) -> None:
    world.record(world.interaction(text="there"))
    fence = lifecycle_pb2.RaiseFenceRequest(organization_id=ORG, erasure_id=ERASURE)
    order = lifecycle_pb2.EraseOrganizationRequest(organization_id=ORG, erasure_id=ERASURE)
    for act in (lambda: world.lifecycle.RaiseFence(fence), lambda: world.lifecycle.EraseOrganization(order)):
        assert reason_of(act) == "NOT_DUE"
        world.clock.advance(timedelta(seconds=3))  # the lease has run out, and what is in force is not known
        assert reason_of(act) == "LEASE_LAPSED"
        world.refresh()
    assert outcomes(world.record(world.interaction())) == ["STORED"]
    assert readable(world) == ["there", "hello"]
    # Once it is done, the answer is the same whatever is known.
    erased = erase(world)
    world.peers.set_organization(ORG)
    world.refresh()
    assert world.lifecycle.EraseOrganization(order).erased_at == erased.erased_at


def test_a_held_record_of_an_erased_organization_outlives_its_day(world: World) -> None:
    kept = world.interaction(text="kept")
    world.record(kept, world.interaction(), world.interaction(OTHER))
    hold(world, HOLD, kept.record_id)
    erase(world)
    world.travel(timedelta(days=40))
    assert drop(world) == (1, 0)
    assert readable(world) == ["kept"]
    assert release(world, HOLD) == 1
    assert readable(world) == []


def test_a_hold_on_more_rows_than_one_statement_can_name_is_let_go_piece_by_piece(world: World) -> None:
    """A statement has 65,535 parameters at most (PostgreSQL 18, §54.7, Bind)."""
    record = world.interaction()
    world.record(record)
    hold(world, HOLD, record.record_id)
    many = 66_000
    names = [column.name for column in retained.c]
    copied = ["gen_random_uuid()" if name == "record_id" else name for name in names]
    with world.database.transaction() as tx:
        tx.execute(
            text(
                f"INSERT INTO retained ({', '.join(names)}) "
                f"SELECT {', '.join(copied)} FROM retained, generate_series(1, :copies)"
            ),
            {"copies": many - 1},
        )
        tx.execute(
            text(
                "INSERT INTO holds SELECT :hold, organization_id, record_id, NULL FROM retained ON CONFLICT DO NOTHING"
            ),
            {"hold": HOLD},
        )
    assert rows(world, retained) == [many]
    assert release(world, HOLD) == many - 1, "the one that is still in its partition stays there"
    assert rows(world, retained, interactions) == [0, 1]
    assert release(world, HOLD) == many - 1

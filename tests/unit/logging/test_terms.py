"""Terms of single organizations: what is due before its partition goes by itself, and what is due after it outlives it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import rules_pb2
from services.logging.store import retention as store
from services.logging.store.tables import data_keys, interactions, retained, stored_counts, unscreened
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.test_lifecycle import (
    HOLD,
    erase,
    hold,
    readable,
    reason_of,
    release,
    rows,
    stored_days,
)
from tests.unit.logging.test_subjects import erase as erase_subject
from tests.unit.logging.test_subjects import said
from tests.unit.logging.world import World

DAY = NOON.date()
RUNS = ["run_" + letter * 26 for letter in "rst"]


def drop(
    world: World, run: str, *, keep: list[str] | None = None, only: list[str] | None = None
) -> tuple[int, int]:
    answer = world.lifecycle.DropExpired(
        lifecycle_pb2.DropExpiredRequest(
            run_id=run, day=DAY.isoformat(), keep_organization_ids=keep, only_organization_ids=only
        )
    )
    return answer.dropped, answer.held


def dropped(world: World, *runs: str) -> dict[str, tuple[int, int]]:
    answer = world.lifecycle.ListDroppedCounts(
        lifecycle_pb2.ListDroppedCountsRequest(day=DAY.isoformat(), run_ids=runs)
    )
    return {one.organization_id: (one.records, one.held) for one in answer.days}


def test_a_shorter_term_takes_its_rows_out_of_a_partition_that_stays(world: World) -> None:
    kept, gone, others = world.interaction(text="kept"), world.interaction(), world.interaction(OTHER)
    world.record(kept, gone, others)
    hold(world, HOLD, kept.record_id)
    world.peers.set_rule(ORG, days=5)
    world.travel(timedelta(days=4))
    assert reason_of(lambda: drop(world, RUNS[0], only=[ORG])) == "NOT_DUE"
    assert sorted(readable(world)) == ["hello", "kept"]
    world.travel(timedelta(hours=10))
    assert readable(world) == ["kept"]  # no run came yet, and what is due is read no more
    assert reason_of(lambda: drop(world, RUNS[0], only=[OTHER])) == "NOT_DUE"
    assert (drop(world, RUNS[0], only=[ORG]), drop(world, RUNS[0], only=[ORG])) == ((2, 1), (2, 1))
    assert rows(world, interactions, retained, data_keys, unscreened) == [1, 1, 1, 2]
    assert stored_days(world) == [(DAY.isoformat(), OTHER, 1, 1, 0)]
    assert readable(world) == ["kept"]
    assert dropped(world, RUNS[0]) == {ORG: (2, 1)}
    # Its day goes later, without what went already.
    world.travel(timedelta(days=25))
    assert drop(world, RUNS[1]) == (1, 0)
    assert (dropped(world, RUNS[1]), len(dropped(world))) == ({OTHER: (1, 0)}, 2)
    assert release(world, HOLD) == 1
    assert rows(world, retained, unscreened) == [0, 0]


def test_more_lots_may_stay_than_a_statement_has_parameters(world: World) -> None:
    world.record(world.interaction())
    staying = {f"org_{number:026}" for number in range(33_000)}
    with world.database.transaction() as tx:
        counted = {"day": DAY, "application": "", "writer": "w", "records": 1, "records_with_content": 1}
        tx.execute(insert(stored_counts), [counted | {"organization_id": name} for name in staying])
        gone = store.drop_day(tx, DAY, RUNS[0], NOON, staying)
    assert [one.organization_id for one in gone] == [ORG]
    assert rows(world, stored_counts) == [len(staying)]


def test_a_longer_term_keeps_rows_beyond_their_partition(world: World) -> None:
    kept, gone, others = world.interaction(text="kept"), world.interaction(), world.interaction(OTHER)
    world.record(kept, gone, others)
    hold(world, HOLD, kept.record_id)
    world.peers.set_rule(ORG, days=40)
    world.travel(timedelta(days=29, hours=10))
    assert reason_of(lambda: drop(world, RUNS[0])) == "NOT_DUE"
    assert (drop(world, RUNS[0], keep=[ORG]), drop(world, RUNS[0], keep=[ORG])) == ((1, 0), (1, 0))
    assert rows(world, interactions, retained, data_keys) == [0, 2, 0]
    assert sorted(readable(world)) == ["hello", "kept"]  # and opened: each row took its data key along
    assert stored_days(world) == [(DAY.isoformat(), ORG, 2, 2, 1)]
    assert dropped(world, RUNS[0]) == {OTHER: (1, 0)}
    world.travel(timedelta(days=10))
    assert readable(world) == ["kept"]
    assert drop(world, RUNS[1]) == (2, 1)
    assert rows(world, retained, stored_counts, unscreened) == [1, 0, 1]
    assert dropped(world, RUNS[1]) == {ORG: (2, 1)}
    assert readable(world) == ["kept"]
    assert release(world, HOLD) == 1
    assert rows(world, retained, unscreened) == [0, 0]


@pytest.mark.parametrize("is_released_first", [True, False])
def test_what_a_hold_lets_go_stays_for_its_term(world: World, is_released_first: bool) -> None:
    record = world.interaction(text="kept")
    world.record(record)
    hold(world, HOLD, record.record_id)
    world.peers.set_rule(ORG, days=40)
    world.travel(timedelta(days=29, hours=10))
    if is_released_first:
        release(world, HOLD)
    drop(world, RUNS[0], keep=[ORG])
    if not is_released_first:
        assert release(world, HOLD) == 0
    assert readable(world) == ["kept"]
    world.travel(timedelta(days=10))
    assert drop(world, RUNS[1]) == (1, 0)
    assert rows(world, retained, stored_counts) == [0, 0]


def test_an_erasure_takes_what_a_term_keeps(world: World) -> None:
    held, free = world.interaction(text="kept"), world.interaction()
    world.record(held, free)
    hold(world, HOLD, held.record_id)
    world.peers.set_rule(ORG, days=40)
    world.travel(timedelta(days=29, hours=10))
    drop(world, RUNS[0], keep=[ORG])
    erased = erase(world)
    assert (erased.removed["interactions"], erased.held) == (1, 1)
    assert rows(world, retained) == [1]
    assert release(world, HOLD) == 1
    assert rows(world, retained) == [0]


def test_days_are_listed_by_each_organizations_rule(world: World) -> None:
    world.record(world.interaction(), world.interaction(OTHER))

    def listed(through: str, own: dict[str, str], organization_id: str = "") -> list[str]:
        answer = world.lifecycle.ListStoredDays(
            lifecycle_pb2.ListStoredDaysRequest(
                through_day=through,
                own=[
                    rules_pb2.OrganizationDue(organization_id=one, through_day=day)
                    for one, day in own.items()
                ],
                organization_id=organization_id,
            )
        )
        return [one.organization_id for one in answer.days]

    before = (DAY - timedelta(days=1)).isoformat()
    assert listed(before, {}) == []
    assert listed(before, {ORG: DAY.isoformat()}) == [ORG]
    assert listed(DAY.isoformat(), {ORG: before}) == [OTHER]
    assert listed(DAY.isoformat(), {}, ORG) == [ORG]


@pytest.mark.parametrize("days", [5, 40])
def test_a_day_whose_rows_all_went_with_their_end_users_is_forgotten_on_its_day(
    world: World, days: int
) -> None:
    world.record(said(world, "x"), world.interaction(OTHER))
    world.peers.set_rule(ORG, days=days)
    if days == 40:
        world.travel(timedelta(days=30))
        assert drop(world, RUNS[0], keep=[ORG]) == (1, 0)
    erase_subject(world)
    gone = (DAY.isoformat(), ORG, 0, 0, 0)
    assert gone in stored_days(world), "copies of it open until its key is destroyed"
    world.travel(timedelta(days=11 if days == 40 else 5))
    assert drop(world, RUNS[1], only=[ORG] if days == 5 else None) == (0, 0)
    assert gone not in stored_days(world)
    world.jobs["outbox"].step()
    told = [one for one in world.peers.audited if one.kind == "rows.removed"]
    assert [(one.organization_id, one.facts["dropped"]) for one in told] == [(ORG, "0")]

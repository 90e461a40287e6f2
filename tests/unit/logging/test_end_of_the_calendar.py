"""Days, instants and ids at the ends of the calendar, which every client may name: an answer or a refusal by name."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from kept.logging.v1 import lifecycle_pb2
from services.logging.store.tables import holds, retained, standing_holds
from shared.ids import derived_record_id
from tests.unit.logging.peers import ORG, OTHER
from tests.unit.logging.test_lifecycle import ERASURE, HOLD, SECOND_HOLD, drop, hold, reason_of, rows
from tests.unit.logging.test_standing_holds import match
from tests.unit.logging.world import World

LAST_DAY, FIRST_DAY = date.max.isoformat(), date.min.isoformat()
# A UUIDv7 of the year 10000, the highest that there is, and the highest 16 bytes.
BEHIND = [
    derived_record_id(milliseconds, b"\xff" * 10)
    for milliseconds in (int(datetime.max.replace(tzinfo=UTC).timestamp() * 1000) + 1000, 2**48 - 1)
] + [b"\xff" * 16]


def test_a_hold_until_the_last_day_keeps_what_matches(world: World) -> None:
    mine = world.interaction()
    world.record(mine)
    answer = match(world, first_day=FIRST_DAY, last_day=LAST_DAY)
    assert [one.record_id for one in answer.held] == [mine.record_id]
    assert not match(world, hold_id=SECOND_HOLD, first_day=LAST_DAY).held


def test_ids_that_are_of_no_day_are_missing(world: World) -> None:
    mine = world.interaction()
    world.record(mine)
    answer = hold(world, HOLD, *BEHIND, mine.record_id)
    assert [one.record_id for one in answer.held] == [mine.record_id]
    assert list(answer.missing) == BEHIND
    secret = lifecycle_pb2.HoldRecordsRequest(
        hold_id=SECOND_HOLD, organization_id=ORG, record_ids=BEHIND, confidential=True
    )
    assert list(world.lifecycle.HoldRecords(secret).missing) == BEHIND
    assert rows(world, holds, retained) == [1, 1]


def test_the_last_day_is_never_due(world: World) -> None:
    assert reason_of(lambda: drop(world, LAST_DAY)) == "NOT_DUE"


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_content_is_older_than_instants_of_records_alone(world: World, instant: datetime) -> None:
    world.peers.set_organization(ORG, content_erased_before=datetime(2026, 1, 1, tzinfo=UTC))
    world.refresh()
    asked = lifecycle_pb2.EraseContentRequest(organization_id=ORG, erasure_id=ERASURE)
    asked.before.FromDatetime(instant)
    assert reason_of(lambda: world.lifecycle.EraseContent(asked)) in ("INVALID_ARGUMENT", "NOT_DUE")


def test_a_hold_is_of_one_organization(world: World) -> None:
    match(world)
    other = lifecycle_pb2.HoldMatchingRequest(hold_id=HOLD, organization_id=OTHER)
    other.scope.SetInParent()
    assert reason_of(lambda: world.lifecycle.HoldMatching(other)) == "CONFLICT"
    assert rows(world, standing_holds) == [1]

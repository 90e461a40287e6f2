"""Holds on all that matches: what they keep piece by piece, and that the erasure of an end user leaves it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.logging.store.tables import holds, interactions, retained, standing_holds
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.test_lifecycle import DAY, ERASURE, HOLD, SECOND_HOLD, reason_of, release, rows
from tests.unit.logging.world import World


def match(
    world: World, *, hold_id: str = HOLD, after: bytes = b"", **scope: str
) -> lifecycle_pb2.HoldMatchingResponse:
    answer: lifecycle_pb2.HoldMatchingResponse = world.lifecycle.HoldMatching(
        lifecycle_pb2.HoldMatchingRequest(
            hold_id=hold_id,
            organization_id=ORG,
            kind=holds_pb2.HOLD_KIND_LEGAL,
            scope=holds_pb2.HoldScope(**scope),
            after=after,
        )
    )
    return answer


def test_what_matches_is_kept_with_its_key(world: World) -> None:
    mine, other, foreign = world.interaction(), world.interaction(), world.interaction(OTHER)
    other.end_user = "u2"
    world.record(mine, other, foreign)
    answer = match(world, end_user="u1")
    assert [one.record_id for one in answer.held] == [mine.record_id]
    assert (len(answer.held[0].sealed_data_key), answer.after, answer.gone_through_day) == (1168, b"", "")
    assert rows(world, retained, holds, standing_holds) == [1, 1, 1]
    # Again, from behind it, and for a span.
    assert [one.record_id for one in match(world, end_user="u1").held] == [mine.record_id]
    assert not match(world, end_user="u1", after=mine.record_id).held
    day = DAY.isoformat()
    assert len(match(world, hold_id=SECOND_HOLD, first_day=day, last_day=day).held) == 2
    assert reason_of(lambda: match(world, end_user="u2")) == "CONFLICT"
    release(world, HOLD)
    assert reason_of(lambda: match(world, end_user="u1")) == "WRONG_STATE"
    assert rows(world, standing_holds, retained) == [1, 2]


def test_whoever_still_knows_the_end_user_tells_the_other(world: World) -> None:
    """A restored retention does not know whose records a hold is on, and a restored logging knows no more."""
    mine, other = world.interaction(), world.interaction()
    other.end_user = "u2"
    world.record(mine, other)
    match(world, end_user="u1")
    assert [one.record_id for one in match(world).held] == [mine.record_id]
    assert (
        len(match(world, hold_id=SECOND_HOLD).held) == 2
    )  # stands on everybody's, as logging's replay leaves it
    late = world.interaction()
    late.end_user = "u2"
    world.record(late)
    assert not match(world, hold_id=SECOND_HOLD, end_user="u1", after=mine.record_id).held
    assert reason_of(lambda: match(world, hold_id=SECOND_HOLD, end_user="u2")) == "CONFLICT"
    assert reason_of(lambda: match(world, first_day=DAY.isoformat())) == "CONFLICT"


def test_an_end_users_erasure_leaves_what_came_since_the_last_look(world: World) -> None:
    match(world, end_user="u1")
    late, free = world.interaction(), world.interaction()
    free.end_user = "u2"
    world.record(late, free)
    world.travel(timedelta(seconds=5))
    asked = lifecycle_pb2.EraseSubjectRequest(organization_id=ORG, end_user="u1", erasure_id=ERASURE)
    erased = world.lifecycle.EraseSubject(asked).erasure
    assert (erased.done, erased.removed["interactions"], erased.held) == (True, 0, 1)
    # From the audit log a restored database knows what it must not drop: no look would tell of it, for it finds nothing new.
    world.jobs["outbox"].step()
    told = [one for one in world.peers.audited if one.kind == "rows.held"][-1]
    assert (told.organization_id, list(told.subjects)) == (ORG, [HOLD, str(UUID(bytes=late.record_id))])
    assert [one.record_id for one in match(world, end_user="u1").held] == [late.record_id]
    assert release(world, HOLD) == 1
    assert rows(world, interactions, retained) == [1, 0]


def test_days_whose_rows_are_gone_are_told(world: World) -> None:
    world.record(world.interaction())
    world.travel(timedelta(days=30))
    world.lifecycle.DropExpired(
        lifecycle_pb2.DropExpiredRequest(run_id="run_" + "r" * 26, day=DAY.isoformat())
    )
    assert match(world, end_user="u1").gone_through_day == NOON.date().isoformat()
    assert match(world, hold_id=SECOND_HOLD, first_day="2026-05-01").gone_through_day == ""
    assert (
        reason_of(lambda: match(world, hold_id="hold_" + "k" * 26, first_day="2026-02-30"))
        == "INVALID_ARGUMENT"
    )

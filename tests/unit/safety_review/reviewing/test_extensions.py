"""No hold ends while its case is undecided, or may still be appealed."""

from datetime import UTC, datetime, timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import lifecycle_pb2
from shared.errors import KeptError, Reason
from tests.unit.safety_review.world import ACME, ERASURE, PHISHING, World

SECOND = timedelta(seconds=1)


def _flagged(world: World) -> str:
    """The case of a record that was just flagged."""
    world.screen(world.record(PHISHING))
    world.run_jobs()
    (case,) = world.cases()
    return case.case_id


def _pass(world: World, time: timedelta) -> None:
    world.clock.advance(time)
    world.run_jobs()


def _extensions(world: World) -> list[datetime]:
    """To when holds were extended, each of them that of the flagged record."""
    (placed, *_) = (one for one in world.peers.holds if isinstance(one, holds_pb2.PlaceHoldRequest))
    extended = [one for one in world.peers.holds if isinstance(one, holds_pb2.ExtendHoldRequest)]
    assert {one.request_id for one in extended} <= {placed.request_id}
    return [one.review_at.ToDatetime(tzinfo=UTC) for one in extended]


def test_the_hold_of_an_undecided_case_is_extended_as_often_as_it_takes(world: World) -> None:
    began = world.clock.now()
    case_id = _flagged(world)
    _pass(world, timedelta(days=173) - SECOND)
    assert _extensions(world) == []
    _pass(world, SECOND)
    assert _extensions(world) == [began + timedelta(days=210)]
    _pass(world, timedelta(days=30) - SECOND)
    assert len(_extensions(world)) == 1
    _pass(world, SECOND)
    assert _extensions(world) == [began + timedelta(days=210), began + timedelta(days=240)]
    world.dismiss(case_id)
    _pass(world, timedelta(days=30))
    assert len(_extensions(world)) == 2
    assert isinstance(world.peers.holds[-1], holds_pb2.ReleaseHoldRequest)


def test_what_was_upheld_late_is_held_as_long_as_it_may_be_appealed_and_while_it_is(world: World) -> None:
    began = world.clock.now()
    case_id = _flagged(world)
    world.clock.advance(timedelta(days=160))
    world.uphold(case_id)
    _pass(world, timedelta(days=13))
    assert _extensions(world) == [began + timedelta(days=210)]
    _pass(world, timedelta(days=17) - SECOND)
    world.appeal(case_id)
    _pass(world, timedelta(days=13) + SECOND)
    assert _extensions(world)[1:] == [began + timedelta(days=240)]


def test_what_was_upheld_in_time_is_not_extended(world: World) -> None:
    case_id = _flagged(world)
    world.clock.advance(timedelta(days=150))
    world.uphold(case_id)
    for _ in range(30):
        _pass(world, timedelta(days=1))
    assert _extensions(world) == []
    assert world.cases() == [], "and goes with its hold"


def _restore_end(world: World, end: datetime) -> None:
    """The database says an end again that was put off since; retention has the later one."""
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE flags SET hold_ends_at = %s", (end,))


def test_an_end_that_is_past_after_a_restore_is_put_off_from_now(world: World) -> None:
    began = world.clock.now()
    _flagged(world)
    _pass(world, timedelta(days=174))
    world.clock.advance(timedelta(days=8))
    _restore_end(world, began + timedelta(days=180))
    for _ in range(3):
        _pass(world, SECOND)
    restored = began + timedelta(days=212) + SECOND
    assert _extensions(world)[1:] == [restored], "once"
    _pass(world, timedelta(days=23))
    assert _extensions(world)[2:] == [restored + timedelta(days=30)]


def test_a_hold_that_is_over_after_a_restore_is_not_asked_for_again_and_again(world: World) -> None:
    began = world.clock.now()
    _flagged(world)
    world.clock.advance(timedelta(days=182))
    _restore_end(world, began + timedelta(days=180))
    world.peers.refuse_hold = KeptError(Reason.REASON_WRONG_STATE, "no")
    asked = []
    for _ in range(3):
        world.clock.advance(timedelta(days=7))
        world.jobs["hold_extensions"].step()
        asked.append(world.count("outbox WHERE kind = 'hold_extension'"))
        world.jobs["outbox"].step()
    assert asked == [1, 0, 0]


@pytest.mark.parametrize(("days", "extended"), [(30, 0), (29, 1)], ids=["too-late", "may-be-appealed"])
def test_an_end_that_is_past_after_a_restore_is_put_off_while_the_customer_may_appeal(
    world: World, days: int, extended: int
) -> None:
    began = world.clock.now()
    case_id = _flagged(world)
    _pass(world, timedelta(days=173))
    world.uphold(case_id)
    world.clock.advance(timedelta(days=days))
    _restore_end(world, began + timedelta(days=180))
    world.jobs["hold_extensions"].step()
    assert world.count("outbox WHERE kind = 'hold_extension'") == extended


def test_of_an_erased_organization_no_hold_is_extended(world: World) -> None:
    _flagged(world)
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)
    world.peer("retention").lifecycle.EraseOrganization(request)
    _pass(world, timedelta(days=175))
    _pass(world, timedelta(days=5))
    assert _extensions(world) == []
    assert world.cases() == []


def test_a_short_hold_is_extended_in_its_second_half(url: str) -> None:
    world = World(url, flag_hold_days=1)
    began = world.clock.now()
    _flagged(world)
    _pass(world, timedelta(hours=12) - SECOND)
    assert _extensions(world) == []
    _pass(world, SECOND)
    assert _extensions(world) == [began + timedelta(days=31)]
    world.close()


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        (Reason.REASON_NOT_FOUND, 0),
        (Reason.REASON_WRONG_STATE, 0),
        (Reason.REASON_INVALID_ARGUMENT, 0),
        (Reason.REASON_CALLER_NOT_ALLOWED, 1),
    ],
)
def test_a_hold_that_is_over_or_ends_later_is_left_and_all_else_is_put_aside(
    world: World, reason: "reasons_pb2.Reason.ValueType", left: int
) -> None:
    _flagged(world)
    world.peers.refuse_hold = KeptError(reason, "no")
    world.clock.advance(timedelta(days=173))
    world.jobs["hold_extensions"].step()
    assert world.count("outbox WHERE kind = 'hold_extension'") == 1
    world.jobs["outbox"].step()
    assert world.count("outbox WHERE kind = 'hold_extension'") == left

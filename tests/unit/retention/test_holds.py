"""Holds through the service: both halves protect or nothing does, whatever is lost on the way."""

from datetime import timedelta
from typing import Any

import pytest

from kept.retention.v1 import holds_pb2
from shared.errors import Reason, lease_lapsed, unknown_organization
from shared.identity import Caller
from tests.unit.retention.world import ONE, SAFETY, START, TWO, Crash, World, admin, refused, staff

ALICE, BOB, SAM = staff(1, "LEGAL"), staff(2, "LEGAL"), staff(3, "SAFETY")
FLAGGED = holds_pb2.HOLD_KIND_FLAGGED


def listed(world: World, hold_id: str) -> holds_pb2.Hold:
    answer = world.holds(staff(9, "AUDITOR")).ListHolds(holds_pb2.ListHoldsRequest())
    return next(hold for hold in answer.holds if hold.hold_id == hold_id)


def test_a_legal_hold_protects_at_once_and_stays_once_a_second_person_confirms(world: World) -> None:
    record = world.record(ONE, START)
    hold = world.holds(ALICE).PlaceHold(world.order(record)).hold
    assert hold.state == holds_pb2.HOLD_STATE_ACTIVE
    assert world.keys.retained[hold.hold_id] == {record}
    assert record in world.logging.holds[hold.hold_id]
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.holds(ALICE).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))
    confirmed = world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)).hold
    assert confirmed.confirmed_by == f"person_{2:026}"
    world.clock.advance(timedelta(days=4))
    world.settle(3)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_ACTIVE
    assert [entry.actor for entry in world.entries("hold.confirmed")] == [f"person_{2:026}"]
    assert {entry.organization_id for entry in world.entries("hold.placed")} == {ONE}


def test_whose_placing_counts_no_more_is_confirmed_by_nobody(world: World) -> None:
    hold = world.holds(ALICE).PlaceHold(world.order(world.record(ONE, START))).hold
    confirm = holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id)
    world.authz.refuse = lease_lapsed()
    with refused(Reason.REASON_LEASE_LAPSED):
        world.holds(BOB).ConfirmHold(confirm)
    world.authz.refuse = None
    world.authz.lapsed.add((f"person_{1:026}", "/kept.retention.v1.HoldService/PlaceHold"))
    with refused(Reason.REASON_WRONG_STATE) as caught:
        world.holds(BOB).ConfirmHold(confirm)
    assert caught[0].metadata == {"state": "VOICE_LAPSED"}
    shown = listed(world, hold.hold_id)
    assert (shown.state, shown.confirmed_by) == (holds_pb2.HOLD_STATE_ACTIVE, "")
    assert world.entries("hold.confirmed") == []
    # What was confirmed while it counted stays so, and is answered again.
    world.authz.lapsed.clear()
    confirmed = world.holds(BOB).ConfirmHold(confirm).hold
    world.authz.lapsed.add((f"person_{1:026}", "/kept.retention.v1.HoldService/PlaceHold"))
    assert world.holds(BOB).ConfirmHold(confirm).hold == confirmed


def test_an_unconfirmed_legal_hold_lapses_with_its_keys_and_rows(world: World) -> None:
    record = world.record(ONE, START)
    hold = world.holds(ALICE).PlaceHold(world.order(record)).hold
    world.clock.advance(timedelta(hours=72) - timedelta(minutes=1))
    world.settle(2)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_ACTIVE
    world.clock.advance(timedelta(minutes=1))
    world.settle(5)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED
    assert hold.hold_id not in world.keys.retained
    assert hold.hold_id not in world.logging.holds
    assert [entry.actor for entry in world.entries("hold.lapsed")] == ["service:retention"]


def test_what_is_gone_is_named_and_when_all_is_gone_the_hold_fails(world: World) -> None:
    here, keyless = world.record(ONE, START), world.record(ONE, START - timedelta(days=5))
    foreign = world.record(TWO, START)
    world.keys.epochs.discard((ONE, (START - timedelta(days=5)).date()))
    hold = world.holds(ALICE).PlaceHold(world.order(here, keyless, foreign)).hold
    assert hold.state == holds_pb2.HOLD_STATE_ACTIVE
    assert set(hold.lost) == {keyless, foreign}
    for _ in range(2):  # the same answer for the same request
        with refused(Reason.REASON_HOLD_TOO_LATE) as caught:
            world.holds(ALICE).PlaceHold(world.order(keyless, foreign, request_id="request-2"))
        assert caught[0].metadata == {"lost": "2"}
    # Rows without keys do not outlive their day for a hold that never was.
    assert list(world.logging.holds) == [hold.hold_id]
    world.settle(2)
    assert len(world.entries("hold.failed")) == 1


def test_whoever_keeps_the_rows_is_told_why(world: World) -> None:
    first, second = world.record(ONE, START), world.record(ONE, START)
    legal = world.holds(ALICE).PlaceHold(world.order(first)).hold
    flagged = world.holds(SAFETY).PlaceHold(world.order(second, kind=FLAGGED)).hold
    assert world.logging.hold_kinds == {
        legal.hold_id: holds_pb2.HOLD_KIND_LEGAL,
        flagged.hold_id: holds_pb2.HOLD_KIND_FLAGGED,
    }


def test_a_request_id_places_one_hold(world: World) -> None:
    first, second = world.record(ONE, START), world.record(ONE, START)
    request = world.order(first, second)
    again = world.order(second, first)
    again.review_at.CopyFrom(request.review_at)
    placed = world.holds(ALICE).PlaceHold(request).hold
    assert world.holds(ALICE).PlaceHold(again).hold.hold_id == placed.hold_id
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        world.holds(ALICE).PlaceHold(world.order(first))
    # Another person's request of the same name is another request.
    assert world.holds(BOB).PlaceHold(world.order(first)).hold.hold_id != placed.hold_id


@pytest.mark.parametrize("method", ["HoldRecords", "RetainRecords"])
def test_a_hold_waits_for_a_service_that_is_down_and_goes_on_without_being_asked(
    world: World, method: str
) -> None:
    record = world.record(ONE, START)
    world.down = {method}
    hold = world.holds(ALICE).PlaceHold(world.order(record)).hold
    assert hold.state == holds_pb2.HOLD_STATE_PENDING
    world.settle(2)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_PENDING
    world.down = set()
    world.wire()
    world.settle(2)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_ACTIVE
    assert world.keys.retained == {hold.hold_id: {record}}
    assert len(world.entries("hold.activated")) == 1


def test_lost_calls_and_lost_answers_change_nothing_of_what_becomes_of_a_hold(world: World) -> None:
    record = world.record(ONE, START)
    world.lose_first = True
    hold = world.holds(SAFETY).PlaceHold(world.order(record, kind=FLAGGED)).hold
    world.settle(8)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_ACTIVE
    request = holds_pb2.ReleaseHoldRequest(request_id="request-1", reason="No violation")
    world.holds(SAFETY).ReleaseHold(request)
    world.settle(8)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED
    assert world.holds(SAFETY).ReleaseHold(request).hold.state == holds_pb2.HOLD_STATE_RELEASED
    assert not world.keys.retained
    assert not world.logging.holds
    for kind in ("hold.placed", "hold.activated", "hold.released", "hold.ended"):
        assert len(world.entries(kind)) == 1, kind


@pytest.mark.parametrize("method", ["HoldRecords", "RetainRecords"])
@pytest.mark.parametrize("is_called", [False, True])
def test_a_hold_that_is_let_go_while_it_is_being_placed_keeps_nothing(
    world: World, method: str, is_called: bool
) -> None:
    """The release comes when a call is on its way (or its answer is): neither service keeps anything in the end."""
    order = world.order(world.record(ONE, START), kind=FLAGGED)

    def let_go(name: str) -> None:
        if name.endswith("/" + method):
            world.during = world.afterwards = None
            world.holds(SAFETY).ReleaseHold(holds_pb2.ReleaseHoldRequest(request_id="request-1", reason="No"))
            world.settle(3)

    world.during, world.afterwards = (None, let_go) if is_called else (let_go, None)
    hold = world.holds(SAFETY).PlaceHold(order).hold
    world.settle(3)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED
    assert not any(world.keys.retained.values())
    assert not any(world.logging.holds.values())
    assert not world.entries("hold.activated")
    assert len(world.entries("hold.ended")) == 1


def test_a_try_that_broke_off_after_it_found_nothing_to_keep_still_ends(world: World) -> None:
    record = world.record(ONE, START)
    world.keys.epochs.clear()
    order = world.order(record)

    def die(where: str) -> None:
        raise Crash

    def about_to_write(name: str) -> None:
        if name.endswith("/ReleaseRecords"):
            world.crash = die

    world.afterwards = about_to_write
    with pytest.raises(Crash):
        world.holds(ALICE).PlaceHold(order)
    world.afterwards = world.crash = None
    world.wire()
    world.settle(2)
    (hold,) = world.holds(ALICE).ListHolds(holds_pb2.ListHoldsRequest()).holds
    assert (hold.state, list(hold.lost)) == (holds_pb2.HOLD_STATE_FAILED, [record])
    assert not any(world.logging.holds.values())


def test_release_waits_until_the_keys_are_destroyed(world: World) -> None:
    hold = world.holds(ALICE).PlaceHold(world.order(world.record(ONE, START))).hold
    request = holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="Settled")
    assert world.holds(BOB).ReleaseHold(request).hold.state == holds_pb2.HOLD_STATE_RELEASING
    assert hold.hold_id in world.logging.holds  # rows last
    world.settle(2)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED
    assert hold.hold_id not in world.logging.holds
    assert world.entries("hold.released")[0].facts["reason"] == "Settled"


def test_a_flagged_hold_ends_at_its_review_by_itself(world: World) -> None:
    record = world.record(ONE, START)
    order = world.order(record, kind=FLAGGED, ahead=timedelta(days=2))
    hold = world.holds(SAFETY).PlaceHold(order).hold
    world.clock.advance(timedelta(days=2))
    world.settle(3)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED


def test_each_places_and_releases_the_own_kind(world: World) -> None:
    record = world.record(ONE, START)
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.holds(ALICE).PlaceHold(world.order(record, kind=FLAGGED))
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.holds(SAFETY).PlaceHold(world.order(record))
    legal = world.holds(ALICE).PlaceHold(world.order(record)).hold
    flagged = world.holds(SAFETY).PlaceHold(world.order(record, kind=FLAGGED)).hold
    with refused(Reason.REASON_NOT_FOUND):
        world.holds(SAFETY).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=legal.hold_id, reason="x"))
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=flagged.hold_id, reason="x"))
    with refused(Reason.REASON_WRONG_STATE):
        world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=flagged.hold_id))


def test_an_admin_lists_the_own_organization_page_by_page(world: World) -> None:
    mine = [
        world.holds(ALICE)
        .PlaceHold(world.order(world.record(ONE, START), request_id=f"request-{number}"))
        .hold.hold_id
        for number in range(3)
    ]
    world.holds(ALICE).PlaceHold(
        world.order(world.record(TWO, START), request_id="request-9", organization_id=TWO)
    )
    for named in ("", TWO):
        with refused(Reason.REASON_WRONG_ORGANIZATION):
            world.holds(admin(ONE)).ListHolds(holds_pb2.ListHoldsRequest(organization_id=named))
    request = holds_pb2.ListHoldsRequest(organization_id=ONE, page_size=2)
    first = world.holds(admin(ONE)).ListHolds(request)
    request.page_token = first.next_page_token
    second = world.holds(admin(ONE)).ListHolds(request)
    assert [hold.hold_id for hold in (*first.holds, *second.holds)] == mine[::-1]
    assert not second.next_page_token
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.holds(SAM).ListHolds(holds_pb2.ListHoldsRequest(page_token="a"))


@pytest.mark.parametrize("caller", [ALICE, SAFETY])
def test_no_hold_is_placed_for_an_organization_that_there_is_not(world: World, caller: Caller) -> None:
    kind = FLAGGED if caller is SAFETY else holds_pb2.HOLD_KIND_LEGAL
    order = world.order(world.record(ONE, START), kind=kind)
    for refuse in (unknown_organization(), lease_lapsed()):
        world.authz.refuse = refuse
        with refused(refuse.reason):
            world.holds(caller).PlaceHold(order)
    world.settle(3)
    assert world.entries("hold.placed") == []
    assert world.logging.holds == {}
    # Once it is placed, whether there is one is not asked again.
    world.authz.refuse = None
    placed = world.holds(caller).PlaceHold(order).hold
    world.authz.refuse = lease_lapsed()
    assert world.holds(caller).PlaceHold(order).hold == placed


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("reference", {"reference": ""}),
        ("organization_id", {"organization_id": f"person_{1:026}"}),
        ("record_ids[0]", {"record_ids": [bytes(16)]}),
        ("record_ids[0]", {"record_ids": [b"not sixteen"]}),
        ("record_ids", {"record_ids": []}),
        ("record_ids", {"scope": {}}),
        ("kind", {"kind": 0}),
        ("kind", {"kind": 9}),
        ("review_at", {"review_at": START - timedelta(seconds=1)}),
        (
            "scope.last_day",
            {"record_ids": [], "scope": {"first_day": "2026-03-02", "last_day": "2026-03-01"}},
        ),
        ("scope.first_day", {"record_ids": [], "scope": {"first_day": "2026-02-30"}}),
        ("request_id", {"request_id": ""}),
    ],
)
def test_bad_input_gets_a_named_reason(world: World, field: str, change: dict[str, Any]) -> None:
    order: Any = world.order(world.record(ONE, START))
    for name in change:
        order.ClearField(name)
    order.MergeFrom(holds_pb2.PlaceHoldRequest(**change))
    with refused(Reason.REASON_INVALID_ARGUMENT) as caught:
        world.holds(ALICE).PlaceHold(order)
    assert {name for name, _ in caught[0].fields} == {field}
    world.settle(2)
    assert world.entries("hold.placed") == []
    assert (world.logging.holds, world.keys.retained) == ({}, {})

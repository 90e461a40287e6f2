"""Holds on all that matches, a span or an end user: what is there, what comes later, and what a run or an erasure would take."""

from datetime import timedelta

import pytest

from kept.retention.v1 import holds_pb2, runs_pb2
from services.retention.holds.hold import Sweep
from shared.clock import CLOCK_TOLERANCE
from shared.errors import Reason
from shared.ids import derived_record_id, lowest_record_id
from tests.unit.retention.test_holds import ALICE, BOB, listed
from tests.unit.retention.test_runs import FIRST, bodies, fill, is_done, runs_of, travel_to_due
from tests.unit.retention.world import ONE, SAFETY, START, TWO, World, admin, refused

ACTIVE, PENDING = holds_pb2.HOLD_STATE_ACTIVE, holds_pb2.HOLD_STATE_PENDING


def scoped(world: World, *, name: str = "request-1", **scope: str) -> holds_pb2.PlaceHoldRequest:
    request = world.order(request_id=name)
    request.scope.CopyFrom(holds_pb2.HoldScope(**scope))
    return request


def place(world: World, **scope: str) -> holds_pb2.Hold:
    hold = world.holds(ALICE).PlaceHold(scoped(world, **scope)).hold
    world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))
    return hold


def of(world: World, end_user: str, *, at: int = 0, owner: str = ONE) -> bytes:
    record = world.record(owner, START + timedelta(days=at))
    world.logging.end_users[record] = end_user
    return record


def test_an_end_users_records_are_held_and_nobody_elses(world: World) -> None:
    mine = {of(world, "u1") for _ in range(5)}
    of(world, "u2"), of(world, "u1", owner=TWO)
    hold = place(world, end_user="u1")
    assert (hold.state, hold.records_kept, hold.records_lost) == (ACTIVE, 5, 0)
    assert set(world.logging.holds[hold.hold_id]) == world.keys.retained[hold.hold_id] == mine
    assert (hold.scope.end_user, list(hold.record_ids)) == ("u1", [])
    world.settle(2)
    facts = world.entries("hold.placed")[0].facts
    assert (facts["scope"], "u1" in str(dict(facts))) == ("end_user", False)


def test_what_comes_later_is_held_too_within_the_hour_and_before_any_run(world: World) -> None:
    hold = place(world, end_user="u1")
    assert (hold.state, hold.records_kept) == (ACTIVE, 0)
    late = of(world, "u1")
    world.settle(1)
    assert listed(world, hold.hold_id).records_kept == 0
    world.clock.advance(timedelta(hours=1))
    world.settle(1)
    assert (listed(world, hold.hold_id).records_kept, world.keys.retained[hold.hold_id]) == (1, {late})
    # The service sleeps for a month; its first run finds what nobody looked for.
    others = {of(world, "u1", at=0) for _ in range(3)}
    free = of(world, "u2")
    travel_to_due(world, FIRST)
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert world.keys.retained[hold.hold_id] == {late, *others}
    assert free not in world.logging._held()
    (run,) = runs_of(world)
    assert (run.records_removed, run.records_held) == (1, 4)
    (body,) = bodies(world)
    assert [(each["hold_id"], each["records"]) for each in body["holds"]] == [(hold.hold_id, 4)]


def test_a_run_waits_for_a_look_that_cannot_go_on(world: World) -> None:
    place(world, end_user="u1")
    of(world, "u1")
    world.down = {"HoldMatching"}
    travel_to_due(world, FIRST)
    world.settle(5)
    assert runs_of(world)[0].state == runs_pb2.RUN_STATE_DESTROYING_KEYS
    assert not world.keys.destructions
    world.down = set()
    world.wire()
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert runs_of(world)[0].records_held == 1


def test_a_hold_that_comes_while_a_run_is_on_its_way_is_told_what_it_came_too_late_for(world: World) -> None:
    first, second = of(world, "u1"), of(world, "u1", at=1)
    world.down = {"DropExpired"}
    travel_to_due(world, FIRST)
    world.settle(4)
    hold = place(world, end_user="u1")
    assert (hold.records_kept, hold.records_lost, list(hold.lost)) == (1, 1, [first])
    assert world.keys.retained[hold.hold_id] == {second}
    world.down = set()
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    later = world.holds(ALICE).PlaceHold(scoped(world, name="request-2")).hold
    assert (later.state, later.gone_through_day) == (ACTIVE, FIRST.isoformat())


def test_a_span_holds_its_days(world: World) -> None:
    records = [of(world, "u1", at=number) for number in range(4)]
    first, last = (FIRST + timedelta(days=1)).isoformat(), (FIRST + timedelta(days=2)).isoformat()
    hold = place(world, first_day=first, last_day=last)
    assert world.keys.retained[hold.hold_id] == set(records[1:3])
    assert (
        world.holds(admin(ONE))
        .ListHolds(holds_pb2.ListHoldsRequest(organization_id=ONE))
        .holds[0]
        .records_kept
        == 2
    )


@pytest.mark.parametrize("method", ["HoldMatching", "RetainRecords"])
def test_a_look_that_broke_off_goes_on(world: World, method: str) -> None:
    mine = {of(world, "u1") for _ in range(5)}
    world.down = {method}
    hold = world.holds(ALICE).PlaceHold(scoped(world, end_user="u1")).hold
    assert hold.state == PENDING
    world.down, world.lose_first = set(), True
    world.settle(8)
    assert listed(world, hold.hold_id).state == ACTIVE
    assert world.keys.retained[hold.hold_id] == mine
    assert len(world.entries("hold.activated")) == 1


def test_what_it_held_goes_when_it_is_released_and_the_pseudonym_with_it(world: World) -> None:
    of(world, "u1")
    hold = place(world, end_user="u1")
    world.holds(BOB).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold.hold_id, reason="Settled"))
    world.settle(3)
    over = listed(world, hold.hold_id)
    assert (over.state, over.scope.end_user) == (holds_pb2.HOLD_STATE_RELEASED, "")
    assert not any(world.keys.retained.values())
    assert not any(world.logging.holds.values())


def test_bad_scopes_get_a_named_reason(world: World) -> None:
    both = scoped(world, end_user="u1")
    both.record_ids.append(of(world, "u1"))
    flagged = scoped(world, end_user="u1")
    flagged.kind = holds_pb2.HOLD_KIND_FLAGGED
    matterless = scoped(world, end_user="u1")
    matterless.reference = ""
    kindless = scoped(world, end_user="u1")
    kindless.organization_id = "case_" + "1" * 26
    for request in (
        world.order(),
        both,
        matterless,
        kindless,
        scoped(world, first_day="2026-02-30"),
        scoped(world, first_day="2026-03-02", last_day="2026-03-01"),
        scoped(world, last_day="9999-12-31"),
        scoped(world, first_day="9999-12-31"),
        world.order(derived_record_id(2**48 - 1, bytes(10))),  # of a day that no calendar has
    ):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            world.holds(ALICE).PlaceHold(request)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.holds(SAFETY).PlaceHold(flagged)
    assert not world.holds(ALICE).ListHolds(holds_pb2.ListHoldsRequest()).holds


def extension(world: World, hold: holds_pb2.Hold, days: int) -> holds_pb2.ExtendHoldRequest:
    request = holds_pb2.ExtendHoldRequest(hold_id=hold.hold_id, reason="Appeal")
    request.review_at.FromDatetime(world.clock.now() + timedelta(days=days))
    return request


def test_a_legal_hold_is_extended_once_it_is_confirmed(world: World) -> None:
    hold = world.holds(ALICE).PlaceHold(world.order(world.record(ONE, START))).hold
    with refused(Reason.REASON_WRONG_STATE):
        world.holds(ALICE).ExtendHold(extension(world, hold, 100))
    world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))
    for days in (80, 4000):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            world.holds(ALICE).ExtendHold(extension(world, hold, days))
    request = extension(world, hold, 100)
    for _ in range(2):
        assert world.holds(ALICE).ExtendHold(request).hold.review_at == request.review_at
    world.settle(1)
    (entry,) = world.entries("hold.extended")
    assert (entry.facts["reason"], entry.actor) == ("Appeal", f"person_{1:026}")
    with refused(Reason.REASON_NOT_FOUND):
        world.holds(SAFETY).ExtendHold(request)


def test_safety_review_extends_its_own_before_it_ends(world: World) -> None:
    order = world.order(world.record(ONE, START), kind=holds_pb2.HOLD_KIND_FLAGGED, ahead=timedelta(days=2))
    hold = world.holds(SAFETY).PlaceHold(order).hold
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.holds(ALICE).ExtendHold(extension(world, hold, 9))
    request = extension(world, hold, 9)
    request.request_id = "request-1"
    world.holds(SAFETY).ExtendHold(request)
    world.clock.advance(timedelta(days=3))
    world.settle(2)
    assert listed(world, hold.hold_id).state == ACTIVE
    world.clock.advance(timedelta(days=6))
    with refused(Reason.REASON_WRONG_STATE):
        world.holds(SAFETY).ExtendHold(extension(world, hold, 9))
    world.settle(3)
    assert listed(world, hold.hold_id).state == holds_pb2.HOLD_STATE_RELEASED


def test_the_next_look_leaves_out_what_cannot_have_changed() -> None:
    began = Sweep().begin(START)
    assert began == Sweep(began_at=START)
    going_on = began.goes_on(b"x" * 16, FIRST)
    assert going_on.begin(START + timedelta(hours=1)) == going_on
    done = going_on.goes_on(b"", FIRST)
    assert done == Sweep(swept_at=START, gone_through=FIRST)
    again = done.begin(START + timedelta(days=2))
    # Late records come for a day; and a process may have them in hand for ten minutes more.
    assert again.after == lowest_record_id(START - timedelta(hours=26))
    assert again.goes_on(b"", FIRST + timedelta(days=2)).gone_through == FIRST


def test_after_a_clock_that_was_ahead_everything_is_looked_through(world: World) -> None:
    hold = place(world)
    ahead = timedelta(days=3)
    world.clock.step(ahead)
    world.settle(2)
    mine = set()
    for _ in range(3):
        world.clock.advance(timedelta(hours=1))
        mine.add(world.record(ONE, world.clock.now() - ahead))
        world.settle(2)
    world.clock.step(-ahead)
    world.settle(2)
    assert world.keys.retained[hold.hold_id] == mine
    # Clocks of processes that differ as they may look for what is new.
    swept = Sweep(swept_at=START + CLOCK_TOLERANCE)
    assert swept.begin(START).after == lowest_record_id(START + CLOCK_TOLERANCE - timedelta(hours=26))


def test_a_run_that_began_by_a_clock_that_was_ahead_makes_way_for_another(world: World) -> None:
    fill(world)
    place(world, end_user="u1")
    days = {START.date() + timedelta(days=number) for number in range(3)}
    world.keys.not_due = {(owner, day) for owner in (ONE, TWO) for day in days}
    world.logging.not_due = set(days)
    world.down = {"HoldMatching"}  # it waits for a look, which would have to begin when that time has come
    world.clock.step(timedelta(days=40))
    world.settle(5, until=lambda: bool(runs_of(world)))
    world.clock.step(timedelta(days=-40))
    world.down = set()
    world.wire()
    world.settle(60, until=lambda: bool(world.entries("run.not_certified")))
    (run,) = runs_of(world)
    assert (run.state, run.records_removed) == (runs_pb2.RUN_STATE_NOT_CERTIFIED, 0)
    assert len(world.logging.rows) == 8
    assert bodies(world) == []

    world.keys.not_due, world.logging.not_due = set(), set()
    travel_to_due(world, FIRST)
    world.settle(60, until=is_done(world))
    assert [each.state for each in runs_of(world)] == [runs_pb2.RUN_STATE_DONE, run.state]
    assert {body["organization_id"] for body in bodies(world)} == {ONE, TWO}

"""Erasures of what was logged before zero data retention: keys, then contents, then a certificate that says what stays."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from kept.retention.v1 import certificates_pb2, erasures_pb2, holds_pb2
from shared.errors import Reason
from tests.unit.retention.test_hold_scopes import place
from tests.unit.retention.world import ONE, SAFETY, SETTINGS, START, TWO, Crashes, World, refused, staff

REQUEST = "zdr_" + "7" * 26
DAYS = ["2026-02-27", "2026-02-28", "2026-03-01"]


def order(
    before: datetime = START, organization_id: str = ONE, request_id: str = REQUEST, member: str = "0"
) -> erasures_pb2.EraseContentRequest:
    request = erasures_pb2.EraseContentRequest(
        request_id=request_id, organization_id=organization_id, requested_by="member_" + member * 26
    )
    request.before.FromDatetime(before)
    return request


def begin(world: World) -> erasures_pb2.Erasure:
    return world.erasures(SETTINGS).EraseContent(order()).erasure


def shown(world: World, erasure_id: str) -> erasures_pb2.Erasure:
    request = erasures_pb2.GetErasureRequest(erasure_id=erasure_id)
    return world.erasures(staff(1, "AUDITOR")).GetErasure(request).erasure


def body(world: World, certificate_id: str) -> dict[str, Any]:
    request = certificates_pb2.GetCertificateRequest(certificate_id=certificate_id)
    answer = world.certificates(staff(1, "AUDITOR")).GetCertificate(request)
    read: dict[str, Any] = json.loads(answer.envelope)["body"]
    return read


def is_done(world: World) -> Callable[[], bool]:
    return lambda: bool(world.entries("content_erasure.ended"))


def fill(world: World) -> list[bytes]:
    """Five records from before on three days, one from after, and one of somebody else."""
    mine = [world.record(ONE, START - timedelta(minutes=1, days=number % 3)) for number in range(5)]
    world.record(ONE, START + timedelta(days=1))
    world.record(TWO, START - timedelta(minutes=1))
    return mine


def check_erased(world: World, mine: list[bytes]) -> None:
    erasure = begin(world)
    assert erasure.state == erasures_pb2.ERASURE_STATE_DONE
    assert erasure.complete
    assert not erasure.kept
    assert world.logging.bare == set(mine)
    assert len(world.logging.rows) == 7, "log data stays"
    # Keys up to and including the day of the instant, of this organization alone.
    assert world.keys.epochs == {(ONE, START.date() + timedelta(days=1)), (TWO, START.date())}
    assert all(count == 1 for count in world.keys.marks.values())
    said = body(world, erasure.certificate_id)
    assert said["act_id"] == erasure.erasure_id
    assert [day["day"] for day in said["days"]] == DAYS
    assert all(day["epoch_key_ids"] for day in said["days"])
    assert [one["destruction_id"] for one in said["destructions"]] == [erasure.erasure_id]
    assert said["destructions"][0]["destroyed_at"]
    assert (said["records_removed"], said["records_held"], said["kept"], said["further"]) == (0, 0, [], False)
    assert said["content"]["before"] == "2026-03-01T12:00:00.000000Z"
    assert said["content"]["contents_removed"] == 5
    log_data, usage = said["content"]["stays"]
    assert "to its term" in log_data
    assert "Usage" in usage
    for kind in ("content_erasure.started", "content_erasure.ended", "certificate.signed"):
        assert len(world.entries(kind)) == 1, kind
    assert not world.entries("content_erasure.completed")


def test_an_erasure_from_beginning_to_certificate(world: World) -> None:
    mine = fill(world)
    begun = begin(world)
    assert begun.state == erasures_pb2.ERASURE_STATE_DESTROYING_KEYS
    assert begun.content_before.ToDatetime() == START.replace(tzinfo=None)
    world.settle(60, until=is_done(world))
    check_erased(world, mine)


def test_it_waits_until_everybody_knows_that_it_may(world: World) -> None:
    mine = fill(world)
    world.keys.is_early = False
    begin(world)
    world.settle(3)
    assert not world.keys.marks
    world.keys.is_early, world.logging.is_content_due = True, False
    world.settle(5)
    assert world.keys.marks
    assert not world.logging.bare
    assert not world.entries("certificate.signed")
    world.logging.is_content_due = True
    world.settle(60, until=is_done(world))
    check_erased(world, mine)


def test_what_a_hold_on_all_that_matches_is_on_is_found_before_its_key_goes(world: World) -> None:
    hold = place(world, end_user="u1")
    late = world.record(ONE, START - timedelta(minutes=1))
    world.logging.end_users[late] = "u1"
    free = world.record(ONE, START - timedelta(minutes=1))
    in_hand = world.in_hand(ONE, START - timedelta(minutes=1), "u1")
    world.down = {"HoldMatching"}
    begun = begin(world)
    world.settle(20)
    assert not world.keys.marks, "nobody knows yet what the hold is on"
    world.down = set()
    world.wire()
    world.settle(60, until=is_done(world))
    assert world.keys.retained[hold.hold_id] == {late, in_hand}
    assert free not in world.logging._held()
    erasure = shown(world, begun.erasure_id)
    assert (erasure.state, len(erasure.kept), erasure.complete) == (erasures_pb2.ERASURE_STATE_DONE, 1, False)


def test_lost_calls_and_answers_change_nothing_of_what_becomes_of_it(world: World) -> None:
    mine = fill(world)
    world.lose_first = True
    begin(world)
    world.settle(60, until=is_done(world))
    world.lose_first = False
    check_erased(world, mine)


@pytest.mark.parametrize("seed", range(1, 3))
def test_crashes_around_commits_change_nothing_of_what_becomes_of_it(world: World, seed: int) -> None:
    mine = fill(world)
    begin(world)
    world.crash = Crashes(seed)
    world.settle(120, until=is_done(world))
    world.crash = None
    check_erased(world, mine)


@pytest.mark.parametrize(
    "method",
    [
        "DestroyEpochs",
        "EraseContent",
        "GetContentErasure",
        "ListDestroyedEpochs",
        "AppendEntries",
        "GetInclusionProof",
    ],
)
def test_no_step_begins_before_the_one_before_it_is_complete(world: World, method: str) -> None:
    mine = fill(world)
    if method == "EraseContent":  # ours has the same name: logging's never gets to its end
        world.logging.pieces = 1_000
    else:
        world.down = {method}
    begun = begin(world)
    world.settle(8)
    erasure = shown(world, begun.erasure_id)
    assert erasure.state != erasures_pb2.ERASURE_STATE_DONE
    assert not world.entries("content_erasure.ended")
    if method not in ("AppendEntries", "GetInclusionProof"):
        assert not world.entries("certificate.signed")
    if method == "DestroyEpochs":
        assert not world.logging.contents, "no content goes while its key opens copies of it"
    world.down = set()
    if method == "EraseContent":
        world.logging.pieces = world.logging.contents[begun.erasure_id]["calls"] + 1
    world.wire()
    world.settle(60, until=is_done(world))
    check_erased(world, mine)


def test_another_process_carries_it_on_and_one_that_slept_changes_nothing(world: World) -> None:
    mine = fill(world)
    begin(world)
    twin = world.twin()
    slept: list[str] = []

    def overtake(method: str) -> None:
        """The answer of each call arrives after another process has done everything."""
        name = method.rsplit("/", 1)[-1]
        if name in ("DestroyEpochs", "EraseContent", "GetContentErasure") and name not in slept:
            slept.append(name)
            world.afterwards = None
            for _ in range(3):
                twin.step("content_erasures")
            world.afterwards = overtake

    world.afterwards = overtake
    world.settle(60, until=is_done(world))
    world.afterwards = None
    twin.database.close()
    assert slept
    check_erased(world, mine)


def _let_go(world: World, request_id: str) -> None:
    world.holds(SAFETY).ReleaseHold(
        holds_pb2.ReleaseHoldRequest(request_id=request_id, reason="No violation")
    )


def _held(world: World, *records: bytes, request_id: str) -> str:
    placed = world.holds(SAFETY).PlaceHold(
        world.order(*records, kind=holds_pb2.HOLD_KIND_FLAGGED, request_id=request_id)
    )
    return placed.hold.hold_id


def test_what_holds_keep_is_said_and_completed_when_the_last_ends(world: World) -> None:
    mine = fill(world)
    first_hold = _held(world, mine[0], mine[1], request_id="hold-first")
    begun = begin(world)
    world.settle(60, until=is_done(world))
    erasure = shown(world, begun.erasure_id)
    assert not erasure.complete
    first = body(world, erasure.certificate_id)
    assert first["kept"] == list(erasure.kept)
    assert first["kept"][0].startswith("The content of 2 records is kept by")
    assert first_hold in first["kept"][0]
    assert (first["records_held"], first["content"]["contents_removed"]) == (2, 3)

    # Another hold on what the first keeps, placed later: the end waits for it too.
    _held(world, mine[0], request_id="hold-second")
    _let_go(world, "hold-first")
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 1
    _let_go(world, "hold-second")
    world.settle(20, until=lambda: bool(world.entries("content_erasure.completed")))
    after = shown(world, begun.erasure_id)
    assert after.complete
    assert not after.kept
    further = body(world, after.certificate_id)
    assert (further["further"], further["completes"]) == (True, first["certificate_id"])
    assert (further["records_held"], further["kept"]) == (0, [])
    assert first_hold in {one["hold_id"] for one in further["holds"]}
    assert all(one["ended_at"] for one in further["holds"])
    assert [day["day"] for day in further["days"]] == DAYS
    world.settle(5)
    assert len(world.entries("certificate.signed")) == 2


def test_a_later_run_certifies_days_whose_keys_this_has_destroyed(world: World) -> None:
    """Should logging not get to remove content before its day is dropped: its key is gone, which another certificate proves."""
    fill(world)
    begin(world)
    world.settle(5, until=lambda: bool(world.keys.marks))
    world.logging.is_content_due = False
    world.clock.advance(timedelta(days=30))
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert not world.entries("run.not_certified")


def test_bad_input_gets_a_named_reason(world: World) -> None:
    fill(world)
    settings = world.erasures(SETTINGS)
    without = erasures_pb2.EraseContentRequest(
        request_id=REQUEST, organization_id=ONE, requested_by="member_" + "0" * 26
    )
    bad = [order(organization_id="org_1"), order(request_id="zdr_1"), without]
    bad[2].ClearField("before")
    beyond = order()
    beyond.before.seconds = 10**15
    for request in (*bad, beyond):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            settings.EraseContent(request)
    for caller in (SAFETY, staff(1, "OPERATOR"), staff(1, "LEGAL")):
        with refused(Reason.REASON_CALLER_NOT_ALLOWED):
            world.erasures(caller).EraseContent(order())
    assert not world.entries("content_erasure.started")
    assert not world.keys.marks
    settings.EraseContent(order())
    for other in (order(organization_id=TWO), order(before=START - timedelta(days=1)), order(member="1")):
        with refused(Reason.REASON_REQUEST_ID_REUSED):
            settings.EraseContent(other)


def test_where_nothing_was_logged_the_certificate_says_so(world: World) -> None:
    begun = begin(world)
    world.settle(60, until=is_done(world))
    said = body(world, shown(world, begun.erasure_id).certificate_id)
    assert (said["days"], said["kept"], said["content"]["contents_removed"]) == ([], [], 0)

"""Re-screening, the side that remembers: who asked for what, and how far it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kept.safety_review.v1 import detectors_pb2, screening_pb2
from shared.errors import Reason
from tests.unit.safety_review.world import ACME, BETA, World, person, refused

GRANT = "grant_" + "g" * 26
START = datetime(2026, 2, 1, tzinfo=UTC)


def start(world: World, grant_id: str = GRANT, organization_id: str = ACME, days: int = 5) -> Any:
    request = detectors_pb2.StartRescreeningRequest(grant_id=grant_id, organization_id=organization_id)
    getattr(request, "from").FromDatetime(START)
    request.until.FromDatetime(START + timedelta(days=days))
    return world.staff().detectors.StartRescreening(request).rescreening


def take(world: World) -> screening_pb2.TakeRescreeningResponse:
    return world.peer("logging").screening.TakeRescreening(screening_pb2.TakeRescreeningRequest())


def report(world: World, **said: Any) -> None:
    request = screening_pb2.ReportRescreeningRequest(**{"grant_id": GRANT, **said})
    world.peer("logging").screening.ReportRescreening(request)


def listed(world: World) -> list[detectors_pb2.Rescreening]:
    request = detectors_pb2.ListRescreeningsRequest(page_size=1)
    found: list[detectors_pb2.Rescreening] = []
    while True:
        answer = world.staff().detectors.ListRescreenings(request)
        found += answer.rescreenings
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def test_one_is_worked_off_from_report_to_report_and_audited(world: World) -> None:
    started = start(world)
    assert (started.started_by, started.state) == (person(1), detectors_pb2.RESCREENING_STATE_RUNNING)
    assert start(world) == started, "said again, it is the same"
    taken = take(world)
    assert (taken.grant_id, taken.organization_id, taken.after) == (GRANT, ACME, b"")
    assert taken.until.ToDatetime(UTC) == START + timedelta(days=5)
    assert take(world).grant_id == "", "nobody else works on it"
    report(world, after=b"\x01" * 16, screened=100, left_out=2)
    report(world, after=b"\x01" * 16, screened=100)  # told twice, counted once
    assert take(world).after == b"\x01" * 16
    world.clock.advance(timedelta(minutes=5))
    assert take(world).after == b"\x01" * 16, "who took it died: another goes on"
    report(world, after=b"\x02" * 16, screened=7, done=True)
    report(world, after=b"\x03" * 16, screened=9, done=True)
    (one,) = listed(world)
    assert (one.state, one.screened, one.left_out) == (detectors_pb2.RESCREENING_STATE_DONE, 107, 2)
    assert take(world).grant_id == ""
    assert world.kinds(ACME) == ["rescreening.started", "rescreening.ended"]
    assert dict(world.peers.entries[-1].facts) == {
        "screened": "107", "left_out": "2", "state": "done", "problem": "",
    }  # fmt: skip


def test_one_that_the_grant_does_not_allow_says_why(world: World) -> None:
    start(world)
    take(world)
    report(world, problem="GRANT_EXPIRED")
    (one,) = listed(world)
    assert (one.state, one.problem) == (detectors_pb2.RESCREENING_STATE_FAILED, "GRANT_EXPIRED")


def test_what_is_refused(world: World) -> None:
    start(world)
    with refused(Reason.REASON_ALREADY_EXISTS):
        start(world, days=6)
    with refused(Reason.REASON_ALREADY_EXISTS):
        start(world, organization_id=BETA)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        start(world, "grant_" + "h" * 26, days=0)
    never = detectors_pb2.StartRescreeningRequest(grant_id="grant_" + "h" * 26, organization_id=ACME)
    getattr(never, "from").seconds, never.until.seconds = 0, 2**62
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.staff().detectors.StartRescreening(never)
    world.peers.unknown_organizations = {BETA}
    with refused(Reason.REASON_UNKNOWN_ORGANIZATION):
        start(world, "grant_" + "h" * 26, organization_id=BETA)
    with refused(Reason.REASON_INVALID_ARGUMENT):
        report(world, problem="NONSENSE")
    with refused(Reason.REASON_NOT_FOUND):
        report(world, grant_id="grant_" + "x" * 26)
    assert len(listed(world)) == 1


def test_several_are_listed_the_newest_first(world: World) -> None:
    grants = [f"grant_{letter * 26}" for letter in "abc"]
    for grant_id in grants:
        start(world, grant_id)
    assert [one.grant_id for one in listed(world)] == grants[::-1]
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.staff().detectors.ListRescreenings(detectors_pb2.ListRescreeningsRequest(page_token="?"))

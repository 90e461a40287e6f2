"""Re-screening: what is stored is opened under the grant, page by page, and screened."""

from datetime import timedelta

import pytest

from kept.safety_review.v1 import screening_pb2
from shared.errors import KeptError, Reason
from tests.unit.logging.peers import ORG, ZDR, Peers
from tests.unit.logging.test_screening_feed import verdicts
from tests.unit.logging.world import World

GRANT = "grant_" + "g" * 26


def ask(world: World, organization_id: str = ORG) -> None:
    asked = screening_pb2.TakeRescreeningResponse(grant_id=GRANT, organization_id=organization_id)
    getattr(asked, "from").FromDatetime(world.clock.now() - timedelta(hours=1))
    asked.until.FromDatetime(world.clock.now() + timedelta(hours=1))
    world.peers.rescreening = asked


def screened_before(world: World, *records: object) -> None:
    world.record(*records)  # type: ignore[arg-type]
    while world.jobs["screening"].step():
        pass
    world.peers.screened.clear()
    world.peers.calls.clear()


def work(world: World) -> None:
    while world.jobs["rescreening"].step():
        pass


def test_everything_in_the_span_is_screened_once_under_the_grant(world: World) -> None:
    records = [world.interaction(text=str(number)) for number in range(120)]
    screened_before(world, *records)
    ask(world)
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    work(world)
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records)
    assert sum(one.screened for one in world.peers.reports) == 120
    assert [one.done for one in world.peers.reports] == [False, True]
    assert verdicts(world) == [2] * 120
    assert not world.jobs["rescreening"].step(), "nothing more is asked"


def test_nothing_of_an_organization_without_content_is_offered(world: World) -> None:
    screened_before(world, world.interaction(ZDR))
    ask(world, ZDR)
    work(world)
    assert world.peers.screened == []
    assert "OpenRecords" not in world.peers.calls
    assert [(one.screened, one.done) for one in world.peers.reports] == [(0, True)]


def test_what_the_grant_does_not_cover_is_left_out_and_counted(world: World) -> None:
    records = [world.interaction(text=str(number)) for number in range(5)]
    screened_before(world, *records)
    world.peers.scope.record_ids.extend(one.record_id for one in records[1:])
    ask(world)
    work(world)
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records[1:])
    assert [(one.screened, one.left_out, one.done) for one in world.peers.reports] == [(4, 1, True)]


def test_what_a_detector_did_not_screen_is_not_counted_as_screened(world: World) -> None:
    screened_before(world, world.interaction(), world.interaction())
    ask(world)
    world.peers.verdict = screening_pb2.VERDICT_INCOMPLETE
    work(world)
    assert [(one.screened, one.left_out, one.done) for one in world.peers.reports] == [(0, 2, True)]


def test_a_grant_that_has_ended_ends_it_with_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise KeptError(Reason.REASON_GRANT_EXPIRED, "It has ended.")

    screened_before(world, world.interaction())
    ask(world)
    monkeypatch.setattr(Peers, "OpenRecords", ended)
    world.start()
    work(world)
    assert world.peers.screened == []
    assert [(one.problem, one.done) for one in world.peers.reports] == [("GRANT_EXPIRED", False)]


@pytest.mark.parametrize("down", ["OpenRecords", "Screen", "ReportRescreening"])
def test_an_outage_costs_time_and_no_record(world: World, down: str) -> None:
    screened_before(world, world.interaction(), world.interaction())
    ask(world)
    world.peers.down = {down}
    with pytest.raises(KeptError):
        world.jobs["rescreening"].step()
    assert world.peers.reports == []
    world.peers.down.clear()
    work(world)
    assert len(set(world.peers.screened)) == 2
    assert [(one.screened, one.done) for one in world.peers.reports] == [(2, True)]

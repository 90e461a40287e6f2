"""The end of an organization: what no hold keeps is gone, what one keeps is counted and goes with it."""

from datetime import timedelta

from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import lifecycle_pb2
from shared.errors import Reason
from tests.unit.safety_review.world import ACME, BETA, CANARY, ERASURE, PHISHING, World, refused


def _erase(world: World) -> lifecycle_pb2.EraseOrganizationResponse:
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)
    return world.peer("retention").lifecycle.EraseOrganization(request)


def _filled(world: World) -> dict[str, str]:
    """A dismissed, an upheld and an open case of one organization, something clean, and something of another; cases by category."""
    world.screen(
        world.record(CANARY),
        world.record(PHISHING),
        world.record("How would someone make nerve gas at home?"),
        world.record("Good morning."),
        world.record("Good morning.", BETA),
    )
    cases = {case.category: case.case_id for case in world.cases()}
    world.dismiss(cases["test"])
    world.uphold(cases["fraud"])
    return cases


def test_only_what_a_hold_keeps_stays(world: World) -> None:
    cases = _filled(world)
    answer = _erase(world)
    assert dict(answer.removed) == {"verdicts": 2, "flags": 1, "cases": 1}
    assert answer.kept == 2
    assert {case.case_id for case in world.cases()} == {cases["fraud"], cases["weapons"]}
    assert world.count("verdicts") == 3, "of the two flags that stay, and of the other organization"
    assert world.kinds(ACME)[-1] == "organization.erased"


def test_a_repetition_gives_the_first_receipt(world: World) -> None:
    _filled(world)
    first = _erase(world)
    world.clock.advance(timedelta(hours=1))
    assert _erase(world) == first
    assert world.kinds(ACME).count("organization.erased") == 1


def test_nothing_is_stored_about_an_erased_organization(world: World) -> None:
    _erase(world)
    late, other = world.record(CANARY), world.record("Good morning.", BETA)
    assert world.screen(late, other) == ["INCOMPLETE", "CLEAN"]
    assert world.count("flags") == world.count("cases") == 0
    assert world.count("verdicts") == 1


def test_what_stayed_goes_with_its_hold(world: World) -> None:
    cases = _filled(world)
    _erase(world)
    world.dismiss(cases["weapons"])
    world.run_jobs()
    assert [case.case_id for case in world.cases()] == [cases["fraud"]]
    assert isinstance(world.peers.holds[-1], holds_pb2.ReleaseHoldRequest), "and its hold was released"
    world.clock.advance(timedelta(days=180) - timedelta(seconds=1))
    world.run_jobs()
    assert len(world.cases()) == 1
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert world.cases() == []
    assert world.count("flags") == world.count("verdicts") == 0
    assert world.kinds().count("cases.erased") == 2


def test_only_retention_may_ask(world: World) -> None:
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.peer("logging").lifecycle.EraseOrganization(request)

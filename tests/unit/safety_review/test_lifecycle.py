"""The end of a case, and of an organization: what no hold keeps is gone, what one keeps is counted and goes with it."""

from datetime import timedelta

from kept.access_control.v1 import authz_pb2
from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import cases_pb2, lifecycle_pb2
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


def test_a_repetition_removes_what_can_go_by_now_and_says_what_is_kept_now(world: World) -> None:
    cases = _filled(world)
    first = _erase(world)
    world.dismiss(cases["weapons"])
    again = _erase(world)
    assert (first.kept, again.kept) == (2, 1)
    assert (again.removed, again.erased_at) == (first.removed, first.erased_at)
    assert {case.case_id for case in world.cases()} == {cases["fraud"]}
    world.clock.advance(timedelta(days=180))
    assert (
        _erase(world).kept == world.count("cases") == world.count("flags") == world.count("verdicts") - 1 == 0
    )
    assert world.kinds().count("cases.erased") == 2


def test_an_open_case_of_an_erased_organization_goes_with_its_hold(world: World) -> None:
    world.screen(world.record(CANARY))
    (case,) = world.cases()
    assert _erase(world).kept == 1
    world.clock.advance(timedelta(days=180) - timedelta(seconds=1))
    world.run_jobs()
    assert len(world.cases()) == 1
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert world.count("cases") == world.count("flags") == 0
    # Grants for it end, and access control knows of none of its records any more.
    assert world.peers.cases[-2:] == [
        authz_pb2.CloseCaseRequest(case_id=case.case_id),
        authz_pb2.OpenCaseRequest(case_id=case.case_id, organization_id=ACME),
    ]


def test_closed_cases_go_by_themselves(world: World) -> None:
    cases = _filled(world)
    world.clock.advance(timedelta(days=30) - timedelta(seconds=1))
    world.run_jobs()
    assert len(world.cases()) == 3, "staff may open a closed one again"
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert {case.case_id for case in world.cases()} == {cases["fraud"], cases["weapons"]}
    # Access control knows of none of its records any more.
    assert world.peers.cases[-1] == authz_pb2.OpenCaseRequest(case_id=cases["test"], organization_id=ACME)
    # As long as its records are held the customer sees an upheld one.
    world.clock.advance(timedelta(days=150) - timedelta(seconds=1))
    world.run_jobs()
    assert [case.case_id for case in world.own_cases()] == [cases["fraud"]]
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert world.own_cases() == []
    assert world.peers.cases[-1] == authz_pb2.OpenCaseRequest(case_id=cases["fraud"], organization_id=ACME)
    # One that nobody has decided stays, with its flag and the verdict on it.
    assert [case.case_id for case in world.cases()] == [cases["weapons"]]
    assert world.count("flags") == world.count("verdicts") == 1
    assert world.kinds().count("cases.erased") == 2
    assert "cases.erased" not in world.kinds(ACME), (
        "it would tell of a case that the customer was not told of"
    )


def test_a_case_that_goes_takes_no_other_out_of_the_customers_list(world: World) -> None:
    told: list[str] = []
    for _ in range(4):
        world.screen(world.record(PHISHING))
        (case,) = (case for case in world.cases() if case.case_id not in told)
        world.uphold(case.case_id)
        told.append(case.case_id)
        world.clock.advance(timedelta(days=1))
    world.run_jobs()

    def page(token: str = "") -> cases_pb2.ListOwnCasesResponse:
        asked = cases_pb2.ListOwnCasesRequest(page_size=2, page_token=token)
        return world.admin().ListOwnCases(asked)

    first = page()
    world.clock.advance(timedelta(days=176))  # the hold of the first one is over
    world.run_jobs()
    assert [case.case_id for case in world.own_cases()] == told[1:]
    rest = page(first.next_page_token)
    assert [case.case_id for case in (*first.cases, *rest.cases)] == told
    assert not rest.next_page_token


def test_a_case_that_was_upheld_late_stays_as_long_as_it_may_be_appealed(world: World) -> None:
    world.screen(world.record(PHISHING))
    (case,) = world.cases()
    world.clock.advance(timedelta(days=170))
    world.uphold(case.case_id)
    world.clock.advance(timedelta(days=30) - timedelta(seconds=1))
    world.run_jobs()
    assert world.appeal(case.case_id).state == cases_pb2.OWN_CASE_STATE_UNDER_REVIEW
    world.clock.advance(timedelta(days=100))
    world.run_jobs()
    assert len(world.own_cases()) == 1, "and until it is decided"


def test_an_overturned_case_stays_in_the_customers_list_as_long_as_it_would_have(world: World) -> None:
    world.screen(world.record(PHISHING))
    (case,) = world.cases()
    world.uphold(case.case_id)
    world.appeal(case.case_id)
    world.claim(case.case_id, 3)
    world.decide(case.case_id, cases_pb2.DECISION_NO_VIOLATION, who=3)
    world.clock.advance(timedelta(days=180) - timedelta(seconds=1))
    world.run_jobs()
    assert [one.state for one in world.own_cases()] == [cases_pb2.OWN_CASE_STATE_OVERTURNED]
    world.clock.advance(timedelta(seconds=1))
    world.run_jobs()
    assert world.own_cases() == []
    assert world.count("cases") == world.count("flags") == 0


def test_only_retention_may_ask(world: World) -> None:
    request = lifecycle_pb2.EraseOrganizationRequest(organization_id=ACME, erasure_id=ERASURE)
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.peer("logging").lifecycle.EraseOrganization(request)

"""Reviewers at work, through the contract: who may do what, and what follows from it elsewhere."""

from datetime import timedelta

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from kept.access_control.v1 import authz_pb2
from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing import reviews
from shared.errors import Reason, lease_lapsed
from tests.unit.safety_review.world import ACME, BETA, CANARY, PHISHING, World, person, refused

WORDS = "Reviewer words that stay in the case."


@pytest.fixture
def case_id(world: World) -> str:
    """A case of two records."""
    world.screen(world.record(CANARY), world.record(CANARY))
    world.run_jobs()
    return world.cases()[0].case_id


def test_no_violation_releases_at_once(world: World, case_id: str) -> None:
    placed = [hold.request_id for hold in world.peers.holds]
    world.peers.holds.clear()
    world.claim(case_id)
    case = world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION, reason=WORDS)
    assert (case.state, case.decided_by, case.decision_reason) == (
        cases_pb2.CASE_STATE_DISMISSED,
        person(1),
        WORDS,
    )
    assert case.HasField("closed_at")
    world.run_jobs()
    assert all(isinstance(hold, holds_pb2.ReleaseHoldRequest) for hold in world.peers.holds)
    assert [hold.request_id for hold in world.peers.holds] == placed
    assert world.peers.cases[-1] == authz_pb2.CloseCaseRequest(case_id=case_id, upheld=False)
    assert world.kinds() == ["case.opened", "records.flagged", "case.claimed", "case.dismissed"]


def test_a_violation_takes_two_and_its_holds_stay(world: World, case_id: str) -> None:
    world.claim(case_id)
    assert world.decide(case_id).state == cases_pb2.CASE_STATE_DECIDED
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.confirm(case_id, who=1)
    world.run_jobs()
    assert isinstance(world.peers.cases[-1], authz_pb2.OpenCaseRequest), "not closed by one person"
    case = world.confirm(case_id)
    assert (case.state, case.decided_by, case.confirmed_by) == (
        cases_pb2.CASE_STATE_UPHELD,
        person(1),
        person(2),
    )
    world.run_jobs()
    assert world.peers.cases[-1] == authz_pb2.CloseCaseRequest(case_id=case_id, upheld=True)
    assert all(isinstance(hold, holds_pb2.PlaceHoldRequest) for hold in world.peers.holds)
    assert world.kinds() == [
        "case.opened",
        "records.flagged",
        "case.claimed",
        "case.decided",
        "case.confirmed",
    ]
    by = {entry.kind: entry.actor for entry in world.peers.entries}
    assert (by["case.decided"], by["case.confirmed"]) == (person(1), person(2))
    subjects = {tuple(entry.subjects) for entry in world.peers.entries if entry.kind.startswith("case.")}
    assert subjects == {(case_id, ACME)}


def test_who_could_not_decide_any_more_is_agreed_with_by_nobody(world: World, case_id: str) -> None:
    world.claim(case_id)
    decided = world.decide(case_id)
    world.peers.refuse_voices = lease_lapsed()
    with refused(Reason.REASON_LEASE_LAPSED):
        world.confirm(case_id)
    world.peers.refuse_voices = None
    world.peers.lapsed.add((person(1), "/kept.safety_review.v1.CaseService/DecideCase"))
    before = world.stored()
    with refused(Reason.REASON_WRONG_STATE, "VOICE_LAPSED"):
        world.confirm(case_id)
    with refused(Reason.REASON_CONFLICT):  # of what was not seen nothing else is said
        world.confirm(case_id, etag="0" * len(decided.etag))
    assert world.stored() == before
    assert world.confirm(case_id, confirm=False).state == cases_pb2.CASE_STATE_CLAIMED
    world.clock.advance(timedelta(hours=8))
    world.claim(case_id, who=3)
    world.decide(case_id, who=3)
    assert world.confirm(case_id).state == cases_pb2.CASE_STATE_UPHELD


def test_what_is_sent_back_can_be_decided_again(world: World, case_id: str) -> None:
    world.claim(case_id)
    world.decide(case_id)
    case = world.confirm(case_id, confirm=False)
    assert (case.state, case.claimed_by, case.decision) == (
        cases_pb2.CASE_STATE_CLAIMED,
        person(1),
        cases_pb2.DECISION_UNSPECIFIED,
    )
    assert world.kinds()[-1] == "case.returned"
    assert world.peers.entries[-1].facts["decided_by"] == person(1)
    assert world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION).state == cases_pb2.CASE_STATE_DISMISSED


def test_nothing_is_decided_that_was_not_seen(world: World, case_id: str) -> None:
    seen = world.claim(case_id).etag
    assert world.claim(case_id).etag == seen, "claimed again by the same person: nothing new to see"
    world.screen(world.record(CANARY))
    with refused(Reason.REASON_CONFLICT):
        world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION, etag=seen)
    before = world.decide(case_id).etag
    world.screen(world.record(CANARY))
    with refused(Reason.REASON_CONFLICT):
        world.confirm(case_id, etag=before)
    world.confirm(case_id, confirm=False)
    again = world.decide(case_id, reason="For another reason.").etag
    assert again != before
    assert world.confirm(case_id, etag=again).state == cases_pb2.CASE_STATE_UPHELD


def test_a_claim_lasts_eight_hours(world: World, case_id: str) -> None:
    world.claim(case_id)
    with refused(Reason.REASON_WRONG_STATE, "CASE_STATE_CLAIMED"):
        world.claim(case_id, who=2)
    with refused(Reason.REASON_WRONG_STATE, "CASE_STATE_CLAIMED"):
        world.decide(case_id, who=2)
    world.clock.advance(timedelta(hours=8))
    with refused(Reason.REASON_WRONG_STATE, "CASE_STATE_OPEN"):
        world.decide(case_id)
    assert [case.case_id for case in world.cases(cases_pb2.CASE_STATE_OPEN)] == [case_id]
    assert world.cases(cases_pb2.CASE_STATE_CLAIMED) == []
    assert world.cases()[0].claimed_by == ""
    assert world.claim(case_id, who=2).claimed_by == person(2)
    assert world.cases(cases_pb2.CASE_STATE_OPEN) == []
    assert len(world.cases(cases_pb2.CASE_STATE_CLAIMED)) == 1


def test_a_refused_act_changes_and_tells_nothing(world: World, case_id: str) -> None:
    before = world.stored()
    with refused(Reason.REASON_WRONG_STATE, "CASE_STATE_OPEN"):
        world.decide(case_id)
    with refused(Reason.REASON_NOT_FOUND):
        world.claim("case_" + "0" * 26)
    assert world.stored() == before


def test_a_reviewers_words_stay_in_the_case(world: World, case_id: str) -> None:
    with capture_logs() as logs:
        world.claim(case_id)
        world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION, reason=WORDS)
        world.run_jobs()
    assert world.cases()[0].decision_reason == WORDS
    assert "words" not in str([logs, world.peers.entries, world.peers.holds, world.peers.cases])


def test_pages_go_through_the_list_once_and_stay_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for organization_id in (ACME, BETA):
        world.screen(world.record(CANARY, organization_id), world.record(PHISHING, organization_id))
        world.clock.advance(timedelta(seconds=1))
    whole = [(case.category, case.organization_id) for case in world.cases()]
    assert whole == [("fraud", ACME), ("fraud", BETA), ("test", ACME), ("test", BETA)]

    def paged(size: int) -> list[int]:
        listed, sizes, token = [], [], ""
        while True:
            page = world.reviewer().ListCases(cases_pb2.ListCasesRequest(page_size=size, page_token=token))
            listed += [(case.category, case.organization_id) for case in page.cases]
            sizes.append(len(page.cases))
            token = page.next_page_token
            if not token:
                assert listed == whole
                return sizes

    assert paged(3) == [3, 1]
    monkeypatch.setattr(reviews, "_FLAGS_A_PAGE", 1)
    assert paged(4) == [1, 1, 1, 1]


def test_no_place_is_loaded_to_read_a_case_or_to_act_on_it(world: World, case_id: str) -> None:
    """A full case has a million of them."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    assert [len(case.flags) for case in world.cases()] == [2]
    assert len(world.reviewer().GetCase(cases_pb2.GetCaseRequest(case_id=case_id)).case.flags) == 2
    world.claim(case_id)
    world.decide(case_id)
    assert len(world.confirm(case_id).flags) == 2
    world.jobs["hold_extensions"].step()
    event.remove(world.database.engine, "before_cursor_execute", note)
    reading = [statement for statement in statements if "flags" in statement]
    assert len(reading) > 5
    assert [statement for statement in reading if "places" in statement] == []


@pytest.mark.parametrize("token", ["abc", "====", "Y2FzZXM6MDozOjE6Y2FzZV8x", "zz"])
def test_a_page_token_of_another_list_is_refused(world: World, token: str) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.reviewer().ListCases(cases_pb2.ListCasesRequest(page_token=token))

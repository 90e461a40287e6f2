"""From a flag to the end of an appeal, through the contract: who may do what, what follows from it elsewhere, what the customer is told."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from kept.access_control.v1 import authz_pb2
from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2
from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing.behaviour import WINDOWS
from shared.errors import KeptError, Reason
from shared.ids import new_record_id
from tests.unit.safety_review.conftest import migrated, url, world
from tests.unit.safety_review.world import ACME, BETA, CANARY, PHISHING, World, person, refused

__all__ = ["migrated", "url", "world"]


@pytest.fixture
def case_id(world: World) -> str:
    """A case of two records."""
    world.screen(world.record(CANARY), world.record(CANARY))
    world.run_jobs()
    world.peers.holds.clear()
    return world.cases()[0].case_id


def _released(world: World) -> list[str]:
    world.run_jobs()
    return [one.request_id for one in world.peers.holds if isinstance(one, holds_pb2.ReleaseHoldRequest)]


def test_a_case_walks_from_flag_to_appeal_and_lets_go_what_it_held(world: World, case_id: str) -> None:
    world.claim(case_id)
    assert world.own_cases() == [], "nothing is told while it is looked into"
    with refused(Reason.REASON_NOT_FOUND):
        world.appeal(case_id)
    world.decide(case_id)
    assert world.own_cases() == []
    world.confirm(case_id)
    (told,) = world.own_cases()
    assert (told.case_id, told.state, told.records) == (case_id, cases_pb2.OWN_CASE_STATE_UPHELD, 2)
    assert told.HasField("appeal_until")
    assert world.own_cases(BETA) == []
    with refused(Reason.REASON_NOT_FOUND):
        world.appeal(case_id, BETA)
    assert world.appeal(case_id).state == cases_pb2.OWN_CASE_STATE_UNDER_REVIEW
    with refused(Reason.REASON_APPEAL_CLOSED):
        world.appeal(case_id)
    for who in (1, 2):
        with refused(Reason.REASON_REVIEWER_EXCLUDED):
            world.claim(case_id, who)
    assert _released(world) == [], "the hold stands while the appeal is open"
    world.claim(case_id, 3)
    world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION, who=3)
    assert len(_released(world)) == 2
    assert world.peers.cases[-1] == authz_pb2.CloseCaseRequest(case_id=case_id, upheld=False)
    assert world.own_cases()[0].state == cases_pb2.OWN_CASE_STATE_OVERTURNED
    own = [kind for kind in world.kinds(ACME) if kind.startswith("case.")]
    assert own == ["case.told", "case.appealed"], "what the customer's own log says of it"
    assert "security course" not in str(world.peers.entries)


def test_whose_decision_was_sent_back_and_who_sent_it_back_do_not_decide_the_appeal(
    world: World, case_id: str
) -> None:
    world.claim(case_id)
    world.decide(case_id)
    world.confirm(case_id, confirm=False, who=2)
    assert world.claim(case_id, 1).claimed_by == person(1), "in this round they may go on"
    world.clock.advance(timedelta(hours=8))
    world.claim(case_id, 3)
    world.decide(case_id, who=3)
    world.confirm(case_id, who=4)
    world.appeal(case_id)
    for who in (1, 2, 3, 4):
        with refused(Reason.REASON_REVIEWER_EXCLUDED):
            world.claim(case_id, who)
        with refused(Reason.REASON_NOT_FOUND):
            world.reviewer(who).ClaimNextCase(cases_pb2.ClaimNextCaseRequest())
    assert world.reviewer(5).ClaimNextCase(cases_pb2.ClaimNextCaseRequest()).case.case_id == case_id


def test_a_dismissed_case_is_opened_again_and_held_again(world: World, case_id: str) -> None:
    world.dismiss(case_id)
    old = _released(world)
    world.peers.holds.clear()
    again = world.reopen(case_id)
    assert (again.state, again.round) == (cases_pb2.CASE_STATE_OPEN, cases_pb2.ROUND_REOPENED)
    world.run_jobs()
    placed = [one.request_id for one in world.peers.holds if isinstance(one, holds_pb2.PlaceHoldRequest)]
    assert len(placed) == 2
    assert not set(placed) & set(old)
    opened = world.peers.cases[-1]
    assert isinstance(opened, authz_pb2.OpenCaseRequest)
    assert (opened.case_id, opened.round, len(opened.record_ids)) == (case_id, 2, 2)
    with refused(Reason.REASON_REVIEWER_EXCLUDED):
        world.claim(case_id, 1)
    world.screen(world.record(CANARY))
    assert len(world.cases()) == 2, "what is flagged now is another case"
    world.claim(case_id, 2)
    world.decide(case_id, cases_pb2.DECISION_NO_VIOLATION, who=2)
    assert sorted(_released(world)) == sorted(placed)
    assert world.own_cases() == [], "nothing is told of what was never upheld"


def test_what_was_let_go_is_not_held_by_a_message_that_was_put_aside(world: World) -> None:
    world.peers.refuse_hold = KeptError(Reason.REASON_UNKNOWN_ORGANIZATION, "Not yet.")
    world.screen(world.record(CANARY), world.record(PHISHING))
    world.run_jobs()
    dismissed, stays = world.cases()
    world.dismiss(dismissed.case_id)
    assert _released(world), "and retention knows of no such hold"
    world.peers.refuse_hold = None
    world.clock.advance(timedelta(hours=1))
    world.run_jobs()
    placed = [one for one in world.peers.holds if isinstance(one, holds_pb2.PlaceHoldRequest)]
    assert [one.reference for one in placed] == [stays.case_id]


def test_nobody_decides_on_an_organization_that_they_have_to_do_with(world: World, case_id: str) -> None:
    world.peers.affiliations[person(1)] = [ACME]
    before = world.stored()
    for act in (
        lambda: world.claim(case_id),
        lambda: world.decide(case_id, etag="some-etag"),
        lambda: world.confirm(case_id, who=1, etag="some-etag"),
        lambda: world.reviewer().GetCase(cases_pb2.GetCaseRequest(case_id=case_id)),
    ):
        with refused(Reason.REASON_CONFLICT_OF_INTEREST):
            act()
    with refused(Reason.REASON_NOT_FOUND):
        world.reviewer().ClaimNextCase(cases_pb2.ClaimNextCaseRequest())
    assert world.cases() == [], "nor knows of it"
    assert world.stored() == before
    assert world.claim(case_id, 2).claimed_by == person(2)


def test_the_queue_gives_the_most_urgent_first_and_each_to_one(world: World) -> None:
    for organization_id in (ACME, BETA):
        world.screen(world.record(CANARY, organization_id), world.record(PHISHING, organization_id))
        world.clock.advance(timedelta(seconds=1))

    def following(who: int) -> tuple[str, str]:
        case = world.reviewer(who).ClaimNextCase(cases_pb2.ClaimNextCaseRequest()).case
        return case.category, case.organization_id

    assert [following(1), following(2), following(1)] == [("fraud", ACME), ("fraud", BETA), ("test", ACME)]
    # What is overdue comes first, whatever is worse.
    world.clock.advance(timedelta(days=8))
    world.screen(world.record(PHISHING, "org_" + "c" * 26))
    assert following(3)[1] != "org_" + "c" * 26


def test_a_reviewers_day_has_an_end(url: str) -> None:
    world = World(url, cases_a_day=2)
    for letter in "abc":
        world.screen(world.record(CANARY, "org_" + letter * 26))
    first, second, third = (case.case_id for case in world.cases())
    world.claim(first)
    world.clock.advance(timedelta(hours=1))
    world.claim(second)
    world.claim(first)  # again: the same case
    with pytest.raises(KeptError) as raised:
        world.claim(third)
    assert raised.value.reason == Reason.REASON_REVIEW_BUDGET_EXHAUSTED
    assert raised.value.retry_after == timedelta(hours=23)
    assert world.cases(cases_pb2.CASE_STATE_OPEN)[0].case_id == third, "nothing was changed"
    world.clock.advance(timedelta(hours=23))
    world.claim(third)
    world.close()


def test_who_confirms_reads_as_well_and_has_no_longer_a_day(url: str) -> None:
    world = World(url, cases_a_day=2)
    for letter in "abc":
        world.screen(world.record(CANARY, "org_" + letter * 26))
    first, second, third = (case.case_id for case in world.cases())
    for case_id, who in ((first, 1), (second, 1), (third, 3)):
        world.claim(case_id, who)
        world.decide(case_id, who=who)
    world.confirm(first, confirm=False)
    world.decide(first)
    world.confirm(first)  # the same case, the same round: once
    world.confirm(second)
    with refused(Reason.REASON_REVIEW_BUDGET_EXHAUSTED):
        world.confirm(third)
    with refused(Reason.REASON_REVIEW_BUDGET_EXHAUSTED):
        world.confirm(third, confirm=False)
    assert [case.case_id for case in world.cases(cases_pb2.CASE_STATE_DECIDED)] == [third], (
        "nothing was changed"
    )
    world.clock.advance(timedelta(days=1))
    world.confirm(third)
    world.close()


def test_what_is_referred_is_for_legal_staff(world: World, case_id: str) -> None:
    world.peers.roles[person(8)] = world.peers.roles[person(9)] = roles_pb2.STAFF_ROLE_LEGAL
    listed = cases_pb2.ListCasesRequest()
    assert list(world.reviewer(9).ListCases(listed).cases) == []
    with refused(Reason.REASON_NOT_FOUND):
        world.claim(case_id, 9)
    world.claim(case_id)
    world.escalate(case_id, cases_pb2.DESK_LEGAL)
    assert [case.case_id for case in world.reviewer(9).ListCases(listed).cases] == [case_id]
    with refused(Reason.REASON_NOT_AUTHORIZED):
        world.claim(case_id, 2)
    world.claim(case_id, 9)
    world.decide(case_id, who=9)
    assert world.confirm(case_id, who=8).state == cases_pb2.CASE_STATE_UPHELD
    assert "case.escalated" in world.kinds()


def _report(world: World, **changes: object) -> cases_pb2.OpenCaseRequest:
    request = cases_pb2.OpenCaseRequest(
        request_id="request-1",
        organization_id=ACME,
        category="fraud",
        severity=cases_pb2.SEVERITY_HIGH,
        record_ids=[new_record_id(world.clock.now())],
        reason="A colleague saw it in a support case.",
    )
    request.MergeFrom(cases_pb2.OpenCaseRequest(**changes))  # type: ignore[arg-type]
    return request


def test_staff_opens_a_case_that_no_detector_found(world: World) -> None:
    request = _report(world)
    case = world.reviewer().OpenCase(request).case
    assert (case.category, case.severity, case.note) == ("fraud", cases_pb2.SEVERITY_HIGH, request.reason)
    assert [list(flag.rule_ids) for flag in case.flags] == [["reported"]]
    assert world.reviewer().OpenCase(request).case == case, "said twice, done once"
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        world.reviewer(2).OpenCase(request)
    world.run_jobs()
    (hold,) = world.peers.holds
    assert isinstance(hold, holds_pb2.PlaceHoldRequest)
    assert hold.reference == case.case_id
    # Screening's flags of the same kind join it, and a second report of the same record adds nothing.
    world.screen(world.record(PHISHING))
    assert [one.case_id for one in world.cases()] == [case.case_id]
    request.request_id = "request-2"
    assert len(world.reviewer().OpenCase(request).case.flags) == 2
    assert world.kinds()[:2] == ["case.opened", "case.reported"]
    assert "support case" not in str(world.peers.entries)


def test_a_report_said_again_shows_no_case_to_who_is_affiliated_since(world: World) -> None:
    request = _report(world)
    world.reviewer().OpenCase(request)
    world.peers.affiliations[person(1)] = [ACME]
    with refused(Reason.REASON_CONFLICT_OF_INTEREST):
        world.reviewer().OpenCase(request)


@pytest.mark.parametrize(
    "record_id",
    [
        pytest.param(bytes(16), id="no-version"),
        pytest.param(bytes(6) + b"\x40" + bytes(1) + b"\x80" + bytes(7), id="version-4"),
        pytest.param(bytes(6) + b"\x70" + bytes(1) + b"\x40" + bytes(7), id="another-variant"),
        pytest.param(b"\xff" * 6 + b"\x70" + bytes(1) + b"\x80" + bytes(7), id="no-day-of-the-calendar"),
    ],
)
def test_a_report_of_what_is_no_record_makes_no_case(world: World, record_id: bytes) -> None:
    """Retention would refuse its hold for ever."""
    before = world.stored()
    request = _report(world, record_ids=[record_id])  # beside one that is
    with pytest.raises(KeptError) as caught:
        world.reviewer().OpenCase(request)
    assert caught.value.reason == Reason.REASON_INVALID_ARGUMENT
    assert [path for path, _ in caught.value.fields] == ["record_ids[1]"]
    world.run_jobs()
    assert (world.stored(), world.peers.holds) == (before, [])


def test_a_report_in_no_category_or_of_an_erased_organization_is_refused(world: World) -> None:
    before = world.stored()
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.reviewer().OpenCase(_report(world, category="gossip"))
    world.peers.unknown_organizations = {ACME}
    with refused(Reason.REASON_UNKNOWN_ORGANIZATION):
        world.reviewer().OpenCase(_report(world))
    world.peers.unknown_organizations = set()
    world.peers.affiliations[person(1)] = [ACME]
    with refused(Reason.REASON_CONFLICT_OF_INTEREST):
        world.reviewer().OpenCase(_report(world))
    assert world.stored() == before


@pytest.mark.parametrize("end_user", ["u-17", ""])
def test_a_slow_campaign_is_one_urgent_case(world: World, end_user: str) -> None:
    # Ten flags of one pseudonym in a week, or fifty of all together: never many in a day.
    a_day = 2 if end_user else 8
    for day in range(7):
        world.screen(
            *(world.record(CANARY, end_user=end_user or f"u-{day}-{number}") for number in range(a_day))
        )
        world.clock.advance(timedelta(days=1))
    (case,) = world.cases()
    assert case.severity == cases_pb2.SEVERITY_MEDIUM, "the rule says low"
    (rate,) = case.rates
    assert (rate.window.ToTimedelta(), rate.one_end_user) == (timedelta(days=7), bool(end_user))
    world.run_jobs()
    (noticed,) = (entry for entry in world.peers.entries if entry.kind == "behaviour.noticed")
    assert dict(noticed.facts) == {
        "category": "test",
        "window_days": "7",
        "flags": "10" if end_user else "50",
        "one_end_user": "true" if end_user else "false",
    }
    assert end_user not in world.stored() or not end_user


def test_what_was_dismissed_is_no_behaviour(world: World) -> None:
    for _ in range(4):
        world.screen(world.record(CANARY, end_user="u-17"))
    world.dismiss(world.cases()[0].case_id)
    world.screen(world.record(CANARY, end_user="u-17"))
    assert [list(case.rates) for case in world.cases()] == [[], []]


def test_a_window_is_read_up_to_its_threshold_whatever_others_did(world: World) -> None:
    """Counted in rows of flags that PostgreSQL reads for the very statements, over what one end user did and what a thousand others did."""
    world.screen(world.record(CANARY, end_user="u-17"))
    with world.database.engine.begin() as tx:
        tx.exec_driver_sql("""
            INSERT INTO flags (organization_id, record_id, rules_version, case_id, rule_ids, places, flagged_at, hold_request_id,
                hold_ends_at, end_user_hash)
            SELECT organization_id, decode(md5(n::text), 'hex'), rules_version, case_id, rule_ids, places, flagged_at, hold_request_id,
                hold_ends_at, CASE WHEN n <= 1000 THEN end_user_hash ELSE decode(md5(n::text), 'hex') END
            FROM (SELECT * FROM flags) AS first, generate_series(1, 2000) AS n
        """)
        tx.exec_driver_sql("ANALYZE flags")
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "flagged_at >" in statement:
            asked.append((statement, parameters))

    event.listen(world.database.engine, "before_cursor_execute", note)
    world.screen(*(world.record(CANARY, end_user=f"u-{number}") for number in range(17, 67)))
    event.remove(world.database.engine, "before_cursor_execute", note)
    assert len(asked) == len(WINDOWS)
    with world.database.engine.connect() as connection:
        for statement, parameters in asked:
            explained = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            assert _flags_read(explained[0]["Plan"]) <= 50 + max(window.flags for window in WINDOWS)


def _flags_read(plan: dict[str, Any]) -> float:
    """Rows that a plan's scans of flags went through."""
    read: float = sum(map(_flags_read, plan.get("Plans", ())))
    if plan.get("Relation Name") == "flags":
        read += plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0))
    return read

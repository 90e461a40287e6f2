"""A month in numbers, counted once each, whenever what they are counted from goes."""

from datetime import timedelta

import pytest

from kept.safety_review.v1 import cases_pb2, reports_pb2
from services.safety_review.store import evaluation
from shared.errors import Reason
from tests.unit.safety_review.world import ACME, BETA, CANARY, PHISHING, World, refused


def _report(world: World, month: str = "2026-03") -> reports_pb2.GetSafetyReportResponse:
    world.clock.advance(timedelta(seconds=1))  # what is done now is before the report's end
    return world.staff().reports.GetSafetyReport(reports_pb2.GetSafetyReportRequest(month=month))


def _volumes(world: World) -> tuple[int, int, int]:
    days = _report(world).days
    return (
        sum(day.clean for day in days),
        sum(day.flagged for day in days),
        sum(day.incomplete for day in days),
    )


def test_volumes_stay_when_their_verdicts_go(world: World) -> None:
    world.screen(*(world.record("A question about birds.") for _ in range(5)), world.record(CANARY))
    world.clock.advance(timedelta(days=1))
    world.screen(world.record("Another one."))
    report = _report(world)
    assert [(day.clean, day.flagged, day.incomplete) for day in report.days] == [(5, 1, 0), (1, 0, 0)]
    assert report.days[0].day.ToJsonString() == "2026-03-01T00:00:00Z"
    world.clock.advance(timedelta(days=20))
    world.run_jobs()
    assert world.count("verdicts") == 1
    assert _volumes(world) == (6, 1, 0)
    assert len(_report(world).days) == 22
    world.clock.advance(timedelta(days=20))
    assert len(_report(world).days) == 31, "the month is over"
    assert _volumes(world) == (6, 1, 0)


def test_what_became_of_cases(world: World) -> None:
    for organization_id in (ACME, BETA):
        world.screen(world.record(CANARY, organization_id), world.record(PHISHING, organization_id))
    by_category = {(case.organization_id, case.category): case.case_id for case in world.cases()}
    world.clock.advance(timedelta(hours=2))
    world.dismiss(by_category[ACME, "test"])
    world.clock.advance(timedelta(days=2))
    world.uphold(by_category[ACME, "fraud"])  # late: it was due within a day
    world.appeal(by_category[ACME, "fraud"])
    world.clock.advance(timedelta(hours=1))
    world.claim(by_category[ACME, "fraud"], 3)
    world.decide(by_category[ACME, "fraud"], cases_pb2.DECISION_NO_VIOLATION, who=3)
    report = _report(world)
    assert [(one.category, one.flags, one.cases, one.upheld, one.dismissed) for one in report.categories] == [
        ("fraud", 2, 2, 1, 1),
        ("test", 2, 2, 0, 1),
    ]
    assert (report.decided, report.decided_late, report.appeals, report.overturned) == (3, 1, 1, 1)
    assert report.median_time_to_decision.ToTimedelta() == timedelta(hours=2)
    assert report.p90_time_to_decision.ToTimedelta() == timedelta(hours=50)
    assert (report.waiting, report.reviewers, report.most_cases_a_day) == (2, 3, 1)
    assert [(one.category, one.upheld, one.dismissed) for one in report.versions] == [
        ("fraud", 0, 1),
        ("test", 0, 1),
    ]


def test_what_waited_at_the_end_of_a_month_is_counted_whatever_became_of_it(world: World) -> None:
    world.screen(world.record(CANARY, ACME), world.record(CANARY, BETA))
    (mine,) = (case.case_id for case in world.cases() if case.organization_id == ACME)
    world.uphold(mine)
    assert _report(world).waiting == 1
    world.clock.advance(timedelta(days=29))  # in March still
    world.appeal(mine)
    assert _report(world).waiting == 2
    world.clock.advance(timedelta(days=3))
    assert (_report(world).waiting, _report(world, "2026-04").waiting) == (2, 2)
    for case in world.cases(cases_pb2.CASE_STATE_OPEN):
        world.claim(case.case_id, 3)
        world.decide(case.case_id, cases_pb2.DECISION_NO_VIOLATION, who=3)
    assert (_report(world).waiting, _report(world, "2026-04").waiting) == (2, 0)


def test_what_is_counted_of_cases_stays_when_they_go(world: World) -> None:
    world.clock.advance(timedelta(days=5))
    twice = world.record(CANARY)  # flagged by a rule, and by a person as well
    world.screen(twice, world.record(PHISHING), world.record(CANARY, BETA), world.record(PHISHING, BETA))
    by_category = {(case.organization_id, case.category): case.case_id for case in world.cases()}
    world.dismiss(by_category[ACME, "test"])
    world.uphold(by_category[ACME, "fraud"])
    world.uphold(by_category[BETA, "fraud"])
    world.appeal(by_category[ACME, "fraud"])
    reported = world.reviewer().OpenCase(
        cases_pb2.OpenCaseRequest(
            request_id="request-1",
            organization_id=ACME,
            category="weapons",
            severity=cases_pb2.SEVERITY_LOW,
            record_ids=[twice.record_id],
            reason="Seen by chance.",
        )
    )
    world.clock.advance(timedelta(days=1))
    world.dismiss(reported.case.case_id)
    world.claim(by_category[ACME, "fraud"], 3)
    world.decide(by_category[ACME, "fraud"], cases_pb2.DECISION_NO_VIOLATION, who=3)
    world.clock.advance(timedelta(days=29))

    def counted() -> tuple[reports_pb2.GetSafetyReportResponse, dict[str, tuple[int, int]]]:
        (version,) = {one.rules_version for one in _report(world).versions}
        with world.database.transaction() as tx:
            return _report(world), evaluation.decided(tx, version)

    before = counted()
    assert (before[0].appeals, before[0].opened_by_people, before[0].waiting) == (1, 1, 1)
    assert before[1] == {"fraud": (1, 1), "test": (0, 1)}
    assert before[0].days[5].flagged == 4, "of five flags two are on one record"
    for days, flags in ((0, 4), (1, 3), (150, 1)):
        world.clock.advance(timedelta(days=days))
        world.run_jobs()
        assert world.count("flags") == flags
        assert counted() == before
    assert world.count("cases") == world.count("flags") == 1, "the one that nobody has decided"


def test_a_month_that_has_not_begun_is_refused(world: World) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        _report(world, "2026-04")
    assert _report(world, "2026-02").decided == 0


@pytest.mark.parametrize("month", ["2026-13", "2026-3", "", "2026-03-01"])
def test_what_is_no_month_is_refused(world: World, month: str) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        _report(world, month)

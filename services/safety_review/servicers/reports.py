"""kept.safety_review.v1.ReportService."""

from datetime import UTC, datetime, time

import grpc

from kept.safety_review.v1 import reports_pb2, reports_pb2_grpc
from services.safety_review.reviewing.monthly_reports import MonthlyReports


class ReportServicer(reports_pb2_grpc.ReportServiceServicer):
    """Reports."""

    def __init__(self, reports: MonthlyReports) -> None:
        self._reports = reports

    def GetSafetyReport(
        self, request: reports_pb2.GetSafetyReportRequest, context: grpc.ServicerContext
    ) -> reports_pb2.GetSafetyReportResponse:
        """See the contract."""
        report = self._reports.of(request.month)
        totals = report.totals
        answer = reports_pb2.GetSafetyReportResponse(
            decided=totals.decided,
            decided_late=totals.late,
            appeals=totals.appeals,
            overturned=totals.overturned,
            waiting=totals.waiting,
            opened_by_people=totals.opened_by_people,
            reviewers=totals.reviewers,
            most_cases_a_day=totals.most_cases_a_day,
        )
        answer.since.FromDatetime(report.since)
        answer.until.FromDatetime(report.until)
        for field, seconds in (
            (answer.median_time_to_decision, totals.median_seconds),
            (answer.p90_time_to_decision, totals.p90_seconds),
        ):
            if seconds is not None:
                field.FromSeconds(int(seconds))
        for day in report.days:
            added = answer.days.add(clean=day.clean, flagged=day.flagged, incomplete=day.incomplete)
            added.day.FromDatetime(datetime.combine(day.day, time(), UTC))
        for category in report.categories:
            answer.categories.add(**category._asdict())
        for version in report.versions:
            answer.versions.add(**version._asdict())
        return answer

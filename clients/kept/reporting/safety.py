"""A month of safety review, as a page that a compliance lead can forward: it names no customer and no person."""

from collections.abc import Iterator
from datetime import UTC, timedelta

from kept.reporting import charts, pages
from kept.safety_review.v1 import evaluation_pb2, reports_pb2


def safety_page(
    report: reports_pb2.GetSafetyReportResponse,
    detectors: evaluation_pb2.EvaluateDetectorsResponse | None = None,
) -> str:
    """The page as HTML. detectors: figures on an evaluation set, to go with it."""
    since, until = (instant.ToDatetime(tzinfo=UTC) for instant in (report.since, report.until))
    return pages.page(
        f"Safety review in {since:%B %Y}",
        _parts(report, detectors),
        f"From {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC. Volumes count records by the day of their creation, flags by the day "
        "on which they were found. Records of erased customers are counted no more, once their flags are gone.",
    )


def _parts(
    report: reports_pb2.GetSafetyReportResponse,
    detectors: evaluation_pb2.EvaluateDetectorsResponse | None,
) -> Iterator[str]:
    clean, flagged, incomplete = (
        sum(getattr(day, name) for day in report.days) for name in ("clean", "flagged", "incomplete")
    )
    screened = clean + flagged + incomplete
    yield pages.table(
        ["", "in the month"],
        [
            ("records screened", screened),
            ("flagged", flagged),
            ("not screened by every rule", incomplete),
            ("cases that no detector found", report.opened_by_people),
            ("cases decided", report.decided),
            ("decided later than due", report.decided_late),
            ("median time to the decision", _words(report.median_time_to_decision.ToTimedelta())),
            ("nine of ten within", _words(report.p90_time_to_decision.ToTimedelta())),
            ("appeals", report.appeals),
            ("overturned decisions", report.overturned),
            ("cases that wait for a decision", report.waiting),
            ("reviewers at work", report.reviewers),
            ("most cases of one reviewer in a day", report.most_cases_a_day),
        ],
        "",
    )
    labels = [day.day.ToDatetime(tzinfo=UTC).strftime("%m-%d") for day in report.days]
    yield pages.heading("Volumes")
    yield charts.columns(
        "Records screened", labels, [day.clean + day.flagged + day.incomplete for day in report.days]
    )
    yield charts.columns("Records flagged", labels, [day.flagged for day in report.days], group=1)
    yield charts.columns(
        "Not screened by every rule", labels, [day.incomplete for day in report.days], group=2
    )
    yield pages.heading("By category")
    yield charts.bars("Records flagged", [(one.category, one.flags) for one in report.categories])
    yield pages.table(
        ["category", "flagged", "cases opened", "upheld", "no violation"],
        ([one.category, one.flags, one.cases, one.upheld, one.dismissed] for one in report.categories),
        "Nothing was flagged.",
    )
    yield pages.heading("What people decided of what detectors flagged")
    yield pages.table(
        ["rules", "category", "flags upheld", "flags dismissed"],
        ([one.rules_version, one.category, one.upheld, one.dismissed] for one in report.versions),
        "Nothing that a detector flagged was decided.",
    )
    if detectors is not None:
        yield pages.heading("How good the detectors are")
        rows = detectors.current.categories
        for field in ("precision", "recall", "f1"):
            shares = [(one.category, getattr(one, field)) for one in rows]
            yield charts.intervals(
                field.capitalize(),
                [charts.Point(name, share.value, share.low, share.high) for name, share in shares],
                [detectors.current.rules_version],
            )


def _words(time: timedelta) -> str:
    """As "2 d 3 h" or "45 min"."""
    if not time:
        return "–"
    minutes = int(time.total_seconds()) // 60
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h" if hours < 48 else f"{hours // 24} d {hours % 24} h"

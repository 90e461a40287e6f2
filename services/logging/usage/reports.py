"""Counts of deployments that send nothing else (C04): taken where the organization's agreement says so, and counted once.

Nothing but the receipt says whose they were: no log line, no metric and no trace names the organization.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, usage_pb2
from services.logging.policies import Policies
from services.logging.store import billing, stripes
from services.logging.usage.counting import Cells, Counting
from services.logging.usage.fields import (
    CALLS,
    DURATION_MILLISECONDS,
    DURATION_UNKNOWN,
    DURATIONS,
    FEATURES,
    FIRST_DURATION,
    FIRST_FEATURE,
    LONGEST_CALL,
    SUMS,
    no_figures,
)
from shared.clock import CLOCK_TOLERANCE
from shared.database import Database
from shared.errors import KeptError, Reason, invalid

# How long after its hour a report is taken: a deployment that is connected once a month can send.
REPORT_WINDOW: Final = timedelta(days=35)
_HOUR: Final = 3600
# Reports are remembered until a repetition is refused for its hours alone.
_REMEMBERED: Final = REPORT_WINDOW + timedelta(days=1)


class Reports:
    """Takes reports."""

    def __init__(self, database: Database, policies: Policies, counting: Counting) -> None:
        self._database = database
        self._policies = policies
        self._counting = counting

    def take(self, report: ingest_pb2.ReportUsageRequest, gateway: str) -> bool:
        """Counts a report, all of it or nothing; True when it had been counted before. Durable when it returns.

        Raises LEASE_LAPSED; GATEWAY_NOT_REGISTERED for this organization; UNKNOWN_ORGANIZATION, CLOSED, USAGE_COUNTED_FROM_RECORDS,
        USAGE_NOT_AGREED; INVALID_ARGUMENT for counts that cannot be; REQUEST_ID_REUSED; DATABASE_UNAVAILABLE.
        """
        now = self._policies.leased_now()
        self._admit(report.organization_id, gateway, now)
        cells = _cells_of(report, now)
        content = hashlib.sha256(report.SerializeToString(deterministic=True)).digest()
        with self._database.transaction() as tx:
            stripes.share(tx, {report.organization_id})
            closed, _ = stripes.closed(tx, {report.organization_id}, ())
            if closed:
                raise _refusal(Reason.REASON_CLOSED)
            before = billing.take_report(tx, report.organization_id, report.request_id, content, now)
            if before is not None and before != content:
                raise KeptError(
                    Reason.REASON_REQUEST_ID_REUSED,
                    "This request id came before with another content; use a new one.",
                )
            if before is None:
                self._counting.add(tx, cells, now)
        return before is not None

    def _admit(self, organization_id: str, gateway: str, now: datetime) -> None:
        """Every policy that is in force now, as either clock has it, must allow it."""
        until = now + CLOCK_TOLERANCE
        registered = self._policies.gateway_throughout(gateway, now, until)
        if not all(policy is not None and policy.covers(organization_id) for policy in registered):
            raise _refusal(Reason.REASON_GATEWAY_NOT_REGISTERED)
        policies = self._policies.organization_throughout(organization_id, now - CLOCK_TOLERANCE, now, until)
        known = [policy for policy in policies if policy is not None]
        if not known or len(known) < len(policies):
            raise _refusal(Reason.REASON_UNKNOWN_ORGANIZATION)
        if any(policy.closed for policy in known):
            raise _refusal(Reason.REASON_CLOSED)
        if any(policy.records_here for policy in known):
            raise _refusal(Reason.REASON_USAGE_COUNTED_FROM_RECORDS)
        if not all(policy.usage_agreed for policy in known):
            raise _refusal(Reason.REASON_USAGE_NOT_AGREED)

    def forget(self, now: datetime) -> bool:
        """Forgets reports that cannot come again. A job's step: there is never more to do at once."""
        with self._database.transaction() as tx:
            billing.forget_reports(tx, now - _REMEMBERED)
        return False


_TEXTS: Final = {
    Reason.REASON_GATEWAY_NOT_REGISTERED: "The gateway is not registered for this organization; nothing was counted.",
    Reason.REASON_UNKNOWN_ORGANIZATION: "There is no such organization; nothing was counted.",
    Reason.REASON_CLOSED: "The organization is closed; nothing was counted.",
    Reason.REASON_USAGE_COUNTED_FROM_RECORDS: "Usage of this organization is counted from its records; nothing was counted.",
    Reason.REASON_USAGE_NOT_AGREED: "The organization's agreement does not say that usage may be sent; nothing was counted.",
}


def _refusal(reason: "reasons_pb2.Reason.ValueType") -> KeptError:
    return KeptError(reason, _TEXTS[reason])


def _cells_of(report: ingest_pb2.ReportUsageRequest, now: datetime) -> Cells:
    """The figures of a report. Raises INVALID_ARGUMENT, naming the first that cannot be."""
    cells: Cells = {}
    for number, counts in enumerate(report.counts):
        place = (
            report.organization_id,
            _hour_of(counts, f"counts[{number}].hour", now),
            counts.application,
            counts.model,
        )
        figures = _figures_of(counts.figures, f"counts[{number}].figures")
        known = cells.get(place)
        cells[place] = (
            figures if known is None else [one + more for one, more in zip(known, figures, strict=True)]
        )
    return cells


def _hour_of(counts: usage_pb2.UsageCounts, field: str, now: datetime) -> int:
    # As seconds: what is no time at all is no hour of these either.
    seconds = counts.hour.seconds
    if seconds % _HOUR or counts.hour.nanos:
        raise invalid(field, "must be on the hour")
    if seconds > (now + CLOCK_TOLERANCE).timestamp():
        raise invalid(field, "must have begun")
    if seconds < (now - REPORT_WINDOW).timestamp():
        raise invalid(field, f"must be at most {REPORT_WINDOW.days} days past")
    return seconds // _HOUR


def _figures_of(said: usage_pb2.UsageFigures, field: str) -> list[int]:
    figures = no_figures()
    for place, name in enumerate(SUMS):
        figures[place] = getattr(said, name)
    calls = figures[CALLS]
    if not calls:
        raise invalid(f"{field}.calls", "must be at least 1")
    if figures[DURATION_MILLISECONDS] > calls * LONGEST_CALL:
        raise invalid(f"{field}.duration_milliseconds", "must be at most a day for each of calls")
    if not said.durations:
        figures[DURATION_UNKNOWN] = calls
    elif len(said.durations) != len(DURATIONS) or sum(said.durations) != calls:
        raise invalid(f"{field}.durations", f"must be {len(DURATIONS)} numbers that add up to calls, or none")
    else:
        figures[FIRST_DURATION:FIRST_FEATURE] = said.durations
    for place, name in enumerate(FEATURES, FIRST_FEATURE):
        figures[place] = getattr(said.features, name)
        if figures[place] > calls:
            raise invalid(f"{field}.features.{name}", "must be at most calls")
    return figures

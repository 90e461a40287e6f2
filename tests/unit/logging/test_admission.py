"""Which records may be stored: tables of cases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from services.logging.admission import (
    STORE,
    STORE_WITHOUT_CONTENT,
    Admission,
    GatewayPolicy,
    OrganizationPolicy,
    admit,
    refuse,
    span_of,
)
from services.logging.due import Rule, TermKind, due_at, first_living_day
from shared.errors import Reason
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.world import at

OPEN = OrganizationPolicy(records_here=True, zero_data_retention=False, closed=False)
ZDR = OrganizationPolicy(records_here=True, zero_data_retention=True, closed=False)
ELSEWHERE = OrganizationPolicy(records_here=False, zero_data_retention=False, closed=False)
CLOSED = OrganizationPolicy(records_here=True, zero_data_retention=False, closed=True)
ALL = GatewayPolicy(all_organizations=True, organization_ids=frozenset())
MINE = GatewayPolicy(all_organizations=False, organization_ids=frozenset([ORG]))
ANOTHERS = GatewayPolicy(all_organizations=False, organization_ids=frozenset([OTHER]))
REVOKED = GatewayPolicy(all_organizations=False, organization_ids=frozenset())
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("organization", "gateway", "age", "expected"),
    [
        ([OPEN], [ALL], SECOND, STORE),
        ([OPEN], [MINE], SECOND, STORE),
        ([ZDR], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        # Changed in the middle: the strictest counts, in either direction.
        ([OPEN, ZDR], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        ([ZDR, OPEN], [ALL], SECOND, STORE_WITHOUT_CONTENT),
        ([OPEN, CLOSED], [ALL], SECOND, refuse(Reason.REASON_CLOSED)),
        ([ELSEWHERE, OPEN], [ALL], SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([None, ELSEWHERE], [ALL], SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([None, OPEN], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([None], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([], [ALL], SECOND, refuse(Reason.REASON_UNKNOWN_ORGANIZATION)),
        ([OPEN], [ANOTHERS], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [ALL, REVOKED], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [None, ALL], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        ([OPEN], [], SECOND, refuse(Reason.REASON_GATEWAY_NOT_REGISTERED)),
        # Both bounds of time are included.
        ([OPEN], [ALL], 24 * HOUR, STORE),
        ([OPEN], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_RECORD_TOO_LATE)),
        ([ZDR], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_RECORD_TOO_LATE)),
        ([CLOSED], [ALL], 24 * HOUR + SECOND, refuse(Reason.REASON_CLOSED)),
        ([OPEN], [ALL], -5 * SECOND, STORE),
        ([OPEN], [ALL], -6 * SECOND, refuse(Reason.REASON_RECORD_FROM_FUTURE)),
        ([ELSEWHERE], [ALL], -6 * SECOND, refuse(Reason.REASON_DEPLOYMENT_SENDS_NO_CONTENT)),
        ([OPEN], [ALL], timedelta(days=20_000), refuse(Reason.REASON_RECORD_TOO_LATE)),
    ],
)
def test_decisions(
    organization: Sequence[OrganizationPolicy | None],
    gateway: Sequence[GatewayPolicy | None],
    age: timedelta,
    expected: Admission,
) -> None:
    assert admit(ORG, NOON - age, NOON, organization, gateway) == expected


def test_a_policy_must_allow_five_seconds_more_on_either_side() -> None:
    assert span_of(NOON - HOUR, NOON) == (NOON - HOUR - 5 * SECOND, NOON + 5 * SECOND)
    # What is too late anyway asks about no time that the replica has forgotten.
    assert span_of(NOON - 900 * HOUR, NOON) == (NOON - 24 * HOUR - 5 * SECOND, NOON + 5 * SECOND)


@pytest.mark.parametrize(
    ("day", "kind", "days", "expected"),
    [
        ("2026-03-10", TermKind.AT_MOST, 30, "2026-04-08T22:00:00"),
        ("2026-03-10", TermKind.AT_LEAST, 30, "2026-04-10T00:00:00"),
        # Around the clock changes of Europe, a leap day and a month's end days are days of 24 hours.
        ("2025-03-29", TermKind.AT_MOST, 30, "2025-04-27T22:00:00"),
        ("2025-10-25", TermKind.AT_MOST, 30, "2025-11-23T22:00:00"),
        ("2028-02-28", TermKind.AT_MOST, 3, "2028-03-01T22:00:00"),
        ("2026-01-31", TermKind.AT_LEAST, 30, "2026-03-03T00:00:00"),
    ],
)
def test_due_instants(day: str, kind: TermKind, days: int, expected: str) -> None:
    rule = Rule(kind, days, timedelta(hours=2))
    due = due_at(at(day + "T00:00:00").date(), rule)
    assert due == at(expected)
    # The day lives until that very instant, and not at it.
    assert first_living_day(due - timedelta(microseconds=1), rule) == at(day + "T00:00:00").date()
    assert first_living_day(due, rule) == at(day + "T00:00:00").date() + timedelta(days=1)


def test_a_term_that_no_calendar_holds_is_never_due() -> None:
    rule = Rule(TermKind.AT_LEAST, 36_500, timedelta(0))
    assert due_at(at("9990-01-01T00:00:00").date(), rule) == datetime.max.replace(tzinfo=NOON.tzinfo)

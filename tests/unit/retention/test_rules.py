"""Terms and due instants: UTC days of 24 hours, whatever clocks and calendars do elsewhere; the default rule in its feed."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kept.retention.v1 import rules_pb2
from services.retention.rules import Rule, Term, TermKind, due_at, term_end
from shared.errors import Reason
from shared.identity import Caller, CallerKind
from tests.unit.retention.world import SAFETY, World, refused

TWO_HOURS = timedelta(hours=2)
AT_MOST = Term(TermKind.AT_MOST, 30)


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("day", "term", "window", "due"),
    [
        # Clock changes: Berlin's in March and October, New York's in March and November.
        (date(2025, 3, 29), AT_MOST, TWO_HOURS, datetime(2025, 4, 27, 22, tzinfo=UTC)),
        (date(2025, 3, 30), AT_MOST, TWO_HOURS, datetime(2025, 4, 28, 22, tzinfo=UTC)),
        (date(2025, 10, 25), AT_MOST, TWO_HOURS, datetime(2025, 11, 23, 22, tzinfo=UTC)),
        (date(2025, 10, 26), AT_MOST, TWO_HOURS, datetime(2025, 11, 24, 22, tzinfo=UTC)),
        (date(2025, 2, 7), AT_MOST, timedelta(0), datetime(2025, 3, 9, tzinfo=UTC)),
        (date(2025, 10, 3), AT_MOST, timedelta(0), datetime(2025, 11, 2, tzinfo=UTC)),
        # Ends of months and leap days.
        (date(2024, 1, 31), AT_MOST, timedelta(0), datetime(2024, 3, 1, tzinfo=UTC)),
        (date(2025, 1, 31), AT_MOST, timedelta(0), datetime(2025, 3, 2, tzinfo=UTC)),
        (date(2024, 2, 29), Term(TermKind.AT_MOST, 365), timedelta(0), datetime(2025, 2, 28, tzinfo=UTC)),
        # The shortest and the longest term, and the other kind.
        (date(2026, 3, 1), Term(TermKind.AT_MOST, 3), TWO_HOURS, datetime(2026, 3, 3, 22, tzinfo=UTC)),
        (date(2026, 3, 1), Term(TermKind.AT_LEAST, 3), TWO_HOURS, datetime(2026, 3, 5, tzinfo=UTC)),
        (date(2025, 3, 29), Term(TermKind.AT_LEAST, 30), TWO_HOURS, datetime(2025, 4, 29, tzinfo=UTC)),
        (
            date(2026, 1, 1),
            Term(TermKind.AT_MOST, 36_500),
            timedelta(0),
            datetime(2125, 12, 8, tzinfo=UTC),
        ),
    ],
)
def test_due_instants(day: date, term: Term, window: timedelta, due: datetime) -> None:
    assert due_at(day, term, window) == due


def test_no_record_gets_older_than_the_term_and_none_that_can_be_read_is_due() -> None:
    first, last = datetime(2025, 3, 30, tzinfo=UTC), datetime(2025, 3, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    assert term_end(first.date(), AT_MOST) - first == timedelta(days=30)
    assert due_at(first.date(), AT_MOST, TWO_HOURS) == first + timedelta(days=30) - TWO_HOURS
    least = due_at(last.date(), Term(TermKind.AT_LEAST, 30), TWO_HOURS)
    assert timedelta(days=30) <= least - last < timedelta(days=30, seconds=1)


@pytest.mark.parametrize("days", [2, 0, -1, 36_501, 10**9, True, "30", "30d", "", None, 30.0])
def test_a_bad_term_is_refused_and_never_no_limit(days: Any) -> None:
    with pytest.raises(ValueError, match="term"):
        Term(TermKind.AT_MOST, days)


@pytest.mark.parametrize("window", [timedelta(seconds=-1), timedelta(hours=24, seconds=1)])
def test_a_bad_run_window_is_refused(window: timedelta) -> None:
    with pytest.raises(ValueError, match="window"):
        due_at(date(2026, 1, 1), AT_MOST, window)


@given(
    kind=st.sampled_from(TermKind),
    days=st.integers(3, 36_500),
    hours=st.integers(0, 24),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_newest_due_day_is_due_and_the_next_is_not(
    kind: TermKind, days: int, hours: int, now: datetime
) -> None:
    rule = Rule(Term(kind, days), timedelta(hours=hours), 1, now)
    newest = rule.newest_due_day(now)
    assert rule.due_at(newest) <= now < rule.due_at(newest + timedelta(days=1))


def test_the_default_rule_is_written_once_and_again_when_the_configuration_changed(world: World) -> None:
    logging = world.rules(Caller(CallerKind.SERVICE, name="logging"))
    world.wire()
    world.settle(2)
    known = logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest())
    assert [(change.version, change.organization_id, change.term.days) for change in known.changes] == [
        (1, "", 30)
    ]
    assert known.changes[0].term.kind == rules_pb2.TERM_KIND_AT_MOST
    assert known.changes[0].run_window.ToTimedelta() == TWO_HOURS
    assert known.lease.complete
    assert known.lease.reset

    old = world.service
    world.term_days = 7
    world.wire()
    accepted = world.clock.now()
    world.settle(2)
    changed = logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest(since_version=1))
    assert [(change.version, change.term.days) for change in changed.changes] == [(2, 7)]
    assert changed.changes[0].effective_at.ToDatetime(tzinfo=UTC) >= accepted + timedelta(seconds=2)
    facts = world.entries("rule.changed")[-1].facts
    assert facts["term"] == "AT_MOST 7 days"
    assert facts["term_before"] == "AT_MOST 30 days"

    # A process of the configuration before does not turn it back while both run.
    for job in old.jobs:
        if job.name == "rules":
            job.step()
    assert not logging.ListRuleChanges(rules_pb2.ListRuleChangesRequest(since_version=2)).changes


def test_only_logging_and_access_control_follow_the_rules(world: World) -> None:
    with refused(Reason.REASON_CALLER_NOT_ALLOWED):
        world.rules(SAFETY).ListRuleChanges(rules_pb2.ListRuleChangesRequest())

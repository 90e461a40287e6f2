"""Terms and due instants: UTC days of 24 hours, whatever clocks and calendars do elsewhere."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from kept.retention.v1 import rules_pb2
from shared.terms import NEVER, Rule, Term, TermKind, rule_of

NO_WINDOW, TWO_HOURS = timedelta(0), timedelta(hours=2)
AT_MOST, AT_LEAST = Term(TermKind.AT_MOST, 30), Term(TermKind.AT_LEAST, 30)


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
        (date(2025, 2, 7), AT_MOST, NO_WINDOW, datetime(2025, 3, 9, tzinfo=UTC)),
        (date(2025, 10, 3), AT_MOST, NO_WINDOW, datetime(2025, 11, 2, tzinfo=UTC)),
        # Ends of months and leap days.
        (date(2024, 1, 31), AT_MOST, NO_WINDOW, datetime(2024, 3, 1, tzinfo=UTC)),
        (date(2025, 1, 31), AT_MOST, NO_WINDOW, datetime(2025, 3, 2, tzinfo=UTC)),
        (date(2026, 1, 31), AT_LEAST, TWO_HOURS, datetime(2026, 3, 3, tzinfo=UTC)),
        (date(2024, 2, 29), Term(TermKind.AT_MOST, 365), NO_WINDOW, datetime(2025, 2, 28, tzinfo=UTC)),
        (date(2028, 2, 28), Term(TermKind.AT_MOST, 3), TWO_HOURS, datetime(2028, 3, 1, 22, tzinfo=UTC)),
        # The shortest and the longest term, and the other kind.
        (date(2026, 3, 1), Term(TermKind.AT_MOST, 3), TWO_HOURS, datetime(2026, 3, 3, 22, tzinfo=UTC)),
        (date(2026, 3, 1), Term(TermKind.AT_LEAST, 3), TWO_HOURS, datetime(2026, 3, 5, tzinfo=UTC)),
        (date(2025, 3, 29), AT_LEAST, TWO_HOURS, datetime(2025, 4, 29, tzinfo=UTC)),
        (date(2026, 1, 1), Term(TermKind.AT_MOST, 36_500), NO_WINDOW, datetime(2125, 12, 8, tzinfo=UTC)),
        # What no calendar holds is never due.
        (date(9990, 1, 1), Term(TermKind.AT_MOST, 36_500), TWO_HOURS, NEVER),
        (date(9999, 12, 30), Term(TermKind.AT_LEAST, 3), TWO_HOURS, NEVER),
    ],
)
def test_due_instants(day: date, term: Term, window: timedelta, due: datetime) -> None:
    rule = Rule(term, window)
    assert rule.due_at(day) == due
    if due < NEVER:
        # The day lives until that very instant, and not at it.
        assert rule.newest_due_day(due - timedelta(microseconds=1)) == day - timedelta(days=1)
        assert rule.newest_due_day(due) == day


def test_no_record_gets_older_than_the_term_and_none_that_can_be_read_is_due() -> None:
    first, last = datetime(2025, 3, 30, tzinfo=UTC), datetime(2025, 3, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    most = Rule(AT_MOST, TWO_HOURS)
    assert most.term_end(first.date()) - first == timedelta(days=30)
    assert most.due_at(first.date()) == first + timedelta(days=30) - TWO_HOURS
    least = Rule(AT_LEAST, TWO_HOURS).due_at(last.date())
    assert timedelta(days=30) <= least - last < timedelta(days=30, seconds=1)


@given(
    kind=st.sampled_from(TermKind),
    days=st.integers(3, 36_500),
    hours=st.integers(0, 24),
    now=st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_the_newest_due_day_is_due_and_the_next_is_not(
    kind: TermKind, days: int, hours: int, now: datetime
) -> None:
    rule = Rule(Term(kind, days), timedelta(hours=hours))
    newest = rule.newest_due_day(now)
    assert rule.due_at(newest) <= now < rule.due_at(newest + timedelta(days=1))


@pytest.mark.parametrize("days", [2, 0, -1, 36_501, 10**9, True, "30", "30d", "", None, 30.0])
def test_a_bad_term_is_refused_and_never_no_limit(days: Any) -> None:
    with pytest.raises(ValueError, match="term"):
        Term(TermKind.AT_MOST, days)


@pytest.mark.parametrize("window", [timedelta(seconds=-1), timedelta(hours=24, seconds=1)])
def test_a_bad_run_window_is_refused(window: timedelta) -> None:
    with pytest.raises(ValueError, match="window"):
        Rule(AT_MOST, window)


@pytest.mark.parametrize("rule", [Rule(AT_MOST, TWO_HOURS), Rule(AT_LEAST, NO_WINDOW)])
def test_a_rule_comes_back_from_the_contract_as_it_was(rule: Rule) -> None:
    change = rules_pb2.RuleChange(term=rule.term.to_message())
    change.run_window.FromTimedelta(rule.run_window)
    assert rule_of(change) == rule
    change.ClearField("term")  # the default counts again
    assert rule_of(change) is None


@pytest.mark.parametrize(
    ("term", "window_seconds"),
    [
        (rules_pb2.Term(kind=rules_pb2.TERM_KIND_UNSPECIFIED, days=30), 0),
        (rules_pb2.Term(kind=7, days=30), 0),  # type: ignore[arg-type] # a kind to come
        (rules_pb2.Term(kind=rules_pb2.TERM_KIND_AT_MOST, days=0), 0),
        (rules_pb2.Term(kind=rules_pb2.TERM_KIND_AT_MOST, days=30), 90_000),
    ],
)
def test_a_change_that_states_no_known_rule_is_no_rule(term: rules_pb2.Term, window_seconds: int) -> None:
    change = rules_pb2.RuleChange(term=term, run_window=Duration(seconds=window_seconds))
    with pytest.raises(ValueError):
        rule_of(change)

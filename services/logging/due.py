"""From when on a record may be read no more: a function of its day and of the organization's retention rule, never stored.

Days are UTC days of 24 hours; no time zone and no month takes part.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final

from shared.ids import day_start

# What no calendar can hold is never due.
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_DAY: Final = timedelta(days=1)


class TermKind(Enum):
    """Which way a term binds."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True)
class Rule:
    """A retention rule. days: N of the term. run_window: how long before the end of an AT_MOST term a run may take."""

    kind: TermKind
    days: int
    run_window: timedelta


def due_at(day: date, rule: Rule) -> datetime:
    """From when on the records of a UTC day may be read no more.

    AT_MOST N days: day + N, 00:00 UTC, less the run window: no record gets older than N times 24 hours.
    AT_LEAST N days: day + N + 1, 00:00 UTC: every record gets that old.
    """
    try:
        if rule.kind is TermKind.AT_MOST:
            return day_start(day + timedelta(days=rule.days)) - rule.run_window
        return day_start(day + timedelta(days=rule.days + 1))
    except OverflowError:
        return _NEVER


def first_living_day(now: datetime, rule: Rule) -> date:
    """The earliest day whose records are not due at `now`."""
    if rule.kind is TermKind.AT_MOST:
        day = (now + rule.run_window - timedelta(days=rule.days)).date()
    else:
        day = (now - timedelta(days=rule.days + 1)).date()
    while due_at(day, rule) <= now:
        day += _DAY
    while due_at(day - _DAY, rule) > now:
        day -= _DAY
    return day

"""How long data lives: terms, rules, and the instants they lead to. One rule for all services: retention sets it, logging and access
control go by it.

All arithmetic is on UTC days of 24 hours; months, local time and clock changes have no part in it.

A rule counts for a *lot*: an organization's records, named as the organization is, or those of one application which are sealed to keys of
their own, named "org_…/" and the application, percent-encoded (RFC 3986 §2.1). Where an application has no term, its organization's rule
counts; where that has none, the default.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

from kept.retention.v1 import rules_pb2
from shared.ids import day_start

SHORTEST_DAYS: Final = 3
LONGEST_DAYS: Final = 36_500
LONGEST_RUN_WINDOW: Final = timedelta(hours=24)
# Whose rule counts for every organization that has none of its own.
DEFAULT: Final = ""
_OWN: Final = "/"
# What no calendar can hold is never due.
NEVER: Final = datetime.max.replace(tzinfo=UTC)


def lot_of(organization_id: str, application: str = "") -> str:
    """The lot of an application with keys of its own; of the organization without one."""
    return organization_id + _OWN + quote(application, safe="") if application else organization_id


def lot_prefix(organization_id: str) -> str:
    """How the lots of an organization's applications begin."""
    return organization_id + _OWN


def parts_of(lot: str) -> tuple[str, str]:
    """The organization and the application of a lot; "" for no application. Raises ValueError for what is no lot: a NUL is in no name, and
    no database takes it."""
    organization_id, _, quoted = lot.partition(_OWN)
    application = unquote(quoted)
    if "\0" in organization_id + application:
        raise ValueError("no lot's name holds a NUL")
    return organization_id, application


def rules_behind(lot: str) -> tuple[str, ...]:
    """Whose rule counts for a lot: the first of these that has one. The last is DEFAULT."""
    organization_id, own, _ = lot.partition(_OWN)
    return (lot, organization_id, DEFAULT) if own else (lot, DEFAULT)


class TermKind(StrEnum):
    """Which way a term binds."""

    AT_MOST = "AT_MOST"
    AT_LEAST = "AT_LEAST"


_KINDS: Final = {
    TermKind.AT_MOST: rules_pb2.TERM_KIND_AT_MOST,
    TermKind.AT_LEAST: rules_pb2.TERM_KIND_AT_LEAST,
}
_FROM_KINDS: Final = {number: kind for kind, number in _KINDS.items()}


@dataclass(frozen=True)
class Term:
    """N days, at most or at least. Raises ValueError outside 3 to 36,500 whole days: a bad value is never "no limit"."""

    kind: TermKind
    days: int

    def __post_init__(self) -> None:
        if isinstance(self.days, bool) or not isinstance(self.days, int):
            raise ValueError("a term is a whole number of days")
        if not SHORTEST_DAYS <= self.days <= LONGEST_DAYS:
            raise ValueError(f"a term is {SHORTEST_DAYS} to {LONGEST_DAYS} days")

    def to_message(self) -> rules_pb2.Term:
        """The term as the contract says it."""
        return rules_pb2.Term(kind=_KINDS[self.kind], days=self.days)


@dataclass(frozen=True)
class Rule:
    """A term, and how long before its end a run may take. Raises ValueError for a run window outside 0 to 24 hours."""

    term: Term
    run_window: timedelta

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.run_window <= LONGEST_RUN_WINDOW:
            raise ValueError("a run window is 0 to 24 hours")

    def due_at(self, day: date) -> datetime:
        """From when on the records of a UTC day may be read no more, and are to be destroyed.

        AT_MOST N days: day + N, 00:00 UTC, less the run window: no record gets older than N times 24 hours.
        AT_LEAST N days: day + N + 1, 00:00 UTC: every record gets that old.
        """
        end = self.term_end(day)
        return end - self.run_window if self.term.kind is TermKind.AT_MOST and end < NEVER else end

    def term_end(self, day: date) -> datetime:
        """When the term of a UTC day's oldest possible record ends: what is destroyed after it is late."""
        extra = 0 if self.term.kind is TermKind.AT_MOST else 1
        try:
            return day_start(day + timedelta(days=self.term.days + extra))
        except OverflowError:
            return NEVER

    def late_from(self, day: date) -> datetime:
        """From when on what is there of a UTC day is late: the end of its term, or a run window later where that is when it becomes due."""
        end = self.term_end(day)
        return end if self.term.kind is TermKind.AT_MOST or end == NEVER else end + self.run_window

    def newest_due_day(self, now: datetime) -> date:
        """The newest UTC day whose records are due at `now`; every earlier day is due too."""
        if self.term.kind is TermKind.AT_MOST:
            return (now + self.run_window).date() - timedelta(days=self.term.days)
        return now.date() - timedelta(days=self.term.days + 1)


def rule_of(change: rules_pb2.RuleChange) -> Rule | None:
    """The rule that a change states; None where the default counts again. Raises ValueError for a term that this code does not know: no
    lease, then, rather than a wrong term."""
    if not change.HasField("term"):
        return None
    kind = _FROM_KINDS.get(change.term.kind)
    if kind is None:
        raise ValueError("unknown kind of term")
    return Rule(Term(kind, change.term.days), change.run_window.ToTimedelta())

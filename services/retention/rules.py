"""How long data lives: terms, the instants they lead to, and the default rule in its feed.

All arithmetic is on UTC days of 24 hours; months, local time and clock changes have no part in it.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from google.protobuf import duration_pb2

from kept.retention.v1 import rules_pb2
from services.retention import store
from shared.audit import entry
from shared.change_feed import Change, ChangeFeed
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import lease_lapsed
from shared.ids import day_start
from shared.jobs import Job
from shared.outbox import Outbox

SHORTEST_DAYS: Final = 3
LONGEST_DAYS: Final = 36_500
LONGEST_RUN_WINDOW: Final = timedelta(hours=24)
# The subject of the default rule in the feed.
DEFAULT: Final = ""


class TermKind(StrEnum):
    """Which way a term binds."""

    AT_MOST = "AT_MOST"
    AT_LEAST = "AT_LEAST"


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


@dataclass(frozen=True)
class Rule:
    """A rule as it is in force. version: of its change; effective_at: from when on."""

    term: Term
    run_window: timedelta
    version: int
    effective_at: datetime

    def due_at(self, day: date) -> datetime:
        """When the records of a UTC day are due under this rule."""
        return due_at(day, self.term, self.run_window)

    def term_end(self, day: date) -> datetime:
        """When the term of a UTC day's oldest possible record ends: what is destroyed after it is late."""
        return term_end(day, self.term)

    def newest_due_day(self, now: datetime) -> date:
        """The newest UTC day whose records are due at `now`; every earlier day is due too."""
        if self.term.kind is TermKind.AT_MOST:
            return (now + self.run_window).date() - timedelta(days=self.term.days)
        return now.date() - timedelta(days=self.term.days + 1)


def due_at(day: date, term: Term, run_window: timedelta) -> datetime:
    """When the records of a UTC day are due: AT_MOST, day + N days 00:00 UTC less the run window; AT_LEAST, day + N + 1 days 00:00 UTC.

    Raises ValueError for a run window outside 0 to 24 hours, OverflowError past the year 9999.
    """
    if not timedelta(0) <= run_window <= LONGEST_RUN_WINDOW:
        raise ValueError("a run window is 0 to 24 hours")
    end = term_end(day, term)
    return end - run_window if term.kind is TermKind.AT_MOST else end


def term_end(day: date, term: Term) -> datetime:
    """The instant that a term leads to, without the run window. Raises OverflowError past the year 9999."""
    extra = 0 if term.kind is TermKind.AT_MOST else 1
    return day_start(day + timedelta(days=term.days + extra))


_KINDS = {TermKind.AT_MOST: rules_pb2.TERM_KIND_AT_MOST, TermKind.AT_LEAST: rules_pb2.TERM_KIND_AT_LEAST}
_FROM_KINDS = {number: kind for kind, number in _KINDS.items()}


def to_payload(term: Term, run_window: timedelta) -> bytes:
    """A rule as the feed stores it."""
    window = duration_pb2.Duration()
    window.FromTimedelta(run_window)
    change = rules_pb2.RuleChange(
        term=rules_pb2.Term(kind=_KINDS[term.kind], days=term.days), run_window=window
    )
    return change.SerializeToString(deterministic=True)


def to_message(change: Change) -> rules_pb2.RuleChange:
    """A change as the contract says it."""
    message = rules_pb2.RuleChange.FromString(change.payload)
    message.version = change.version
    message.organization_id = change.subject
    message.effective_at.FromDatetime(change.effective_at)
    return message


def to_rule(change: Change) -> Rule:
    """The rule that a change states."""
    message = rules_pb2.RuleChange.FromString(change.payload)
    term = Term(_FROM_KINDS[message.term.kind], message.term.days)
    return Rule(term, message.run_window.ToTimedelta(), change.version, change.effective_at)


class RuleBook:
    """The rules as this service serves them: keeps the default rule in the feed as the configuration says it."""

    def __init__(
        self,
        feed: ChangeFeed,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        term: Term,
        run_window: timedelta,
    ) -> None:
        due_at(date(2000, 1, 1), term, run_window)  # refuses a bad window before anything is served
        self._feed = feed
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._term = term
        self._run_window = run_window
        self._is_written = False
        self.job = Job("rules", timedelta(seconds=2), self.write_default)

    def write_default(self) -> bool:
        """Writes the default rule where the feed has none or another one. Once in the life of a process: during a rolling update the
        old processes, which have written theirs long ago, do not turn the new rule back."""
        if self._is_written:
            return False
        wanted = to_payload(self._term, self._run_window)
        with self._database.transaction() as tx:
            store.lock(tx, "rules")
            latest = self._feed.latest(tx, DEFAULT)
            if latest is None or latest.payload != wanted:
                change = self._feed.append(tx, DEFAULT, wanted)
                before = None if latest is None else to_rule(latest)
                facts: dict[str, str | int | bool] = {
                    "term": f"{self._term.kind} {self._term.days} days",
                    "run_window_seconds": int(self._run_window.total_seconds()),
                    "version": change.version,
                    "effective_at": change.effective_at.isoformat(),
                }
                if before is not None:
                    facts["term_before"] = f"{before.term.kind} {before.term.days} days"
                    facts["run_window_seconds_before"] = int(before.run_window.total_seconds())
                self._outbox.audit(
                    tx, entry("rule.changed", actor="service:retention", at=self._clock.now(), facts=facts)
                )
        self._is_written = True
        return False

    def default(self) -> Rule:
        """The default rule that is in force now. Raises LEASE_LAPSED while there is none yet."""
        with self._database.transaction() as tx:
            return self.default_in(tx)

    def default_in(self, tx: store.Tx) -> Rule:
        """The same, in the caller's transaction."""
        change = store.change_in_force(tx, DEFAULT, self._clock.now())
        if change is None:
            raise lease_lapsed()
        return to_rule(change)

    def due_now(self) -> tuple[Rule, date]:
        """The default rule, and the newest UTC day that is due under it for everybody: by the clocks of services that are behind this
        one's too, as far as clocks may be apart. Raises LEASE_LAPSED while no rule is in force."""
        instant = self._clock.now() - CLOCK_TOLERANCE
        with self._database.transaction() as tx:
            change = store.change_in_force(tx, DEFAULT, instant)
            rule = self.default_in(tx) if change is None else to_rule(change)
        return rule, rule.newest_due_day(instant)

    def poll(self, since_version: int, page_size: int) -> rules_pb2.ListRuleChangesResponse:
        """What a receiver asks for: the changes after a version, and the lease."""
        changes, lease = self._feed.poll(since_version, page_size)
        return rules_pb2.ListRuleChangesResponse(
            changes=[to_message(change) for change in changes], lease=lease
        )

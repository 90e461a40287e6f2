"""The default rule in its feed. What a rule is and leads to is shared.terms."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from google.protobuf import duration_pb2

from kept.retention.v1 import rules_pb2
from services.retention import store
from shared.audit import entry
from shared.change_feed import Change, ChangeFeed
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import lease_lapsed
from shared.jobs import Job
from shared.outbox import Outbox
from shared.terms import DEFAULT, Rule, rule_of


@dataclass(frozen=True)
class RuleInForce(Rule):
    """A rule as it is in force. version: of its change; effective_at: from when on."""

    version: int
    effective_at: datetime


def to_payload(rule: Rule) -> bytes:
    """A rule as the feed stores it."""
    window = duration_pb2.Duration()
    window.FromTimedelta(rule.run_window)
    change = rules_pb2.RuleChange(term=rule.term.to_message(), run_window=window)
    return change.SerializeToString(deterministic=True)


def to_message(change: Change) -> rules_pb2.RuleChange:
    """A change as the contract says it."""
    message = rules_pb2.RuleChange.FromString(change.payload)
    message.version = change.version
    message.organization_id = change.subject
    message.effective_at.FromDatetime(change.effective_at)
    return message


def to_rule(change: Change) -> RuleInForce:
    """The rule that a change states. Raises ValueError where it states none."""
    rule = rule_of(rules_pb2.RuleChange.FromString(change.payload))
    if rule is None:
        raise ValueError("the default rule has no other behind it")
    return RuleInForce(rule.term, rule.run_window, change.version, change.effective_at)


class RuleBook:
    """The rules as this service serves them: keeps the default rule in the feed as the configuration says it."""

    def __init__(
        self,
        feed: ChangeFeed,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        rule: Rule,
    ) -> None:
        self._feed = feed
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._rule = rule
        self._is_written = False
        self.job = Job("rules", timedelta(seconds=2), self.write_default)

    def write_default(self) -> bool:
        """Writes the default rule where the feed has none or another one. Once in the life of a process: during a rolling update the
        old processes, which have written theirs long ago, do not turn the new rule back."""
        if self._is_written:
            return False
        wanted = to_payload(self._rule)
        with self._database.transaction() as tx:
            store.lock(tx, "rules")
            latest = self._feed.latest(tx, DEFAULT)
            if latest is None or latest.payload != wanted:
                change = self._feed.append(tx, DEFAULT, wanted)
                before = None if latest is None else to_rule(latest)
                facts: dict[str, str | int | bool] = {
                    "term": f"{self._rule.term.kind} {self._rule.term.days} days",
                    "run_window_seconds": int(self._rule.run_window.total_seconds()),
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

    def default(self) -> RuleInForce:
        """The default rule that is in force now. Raises LEASE_LAPSED while there is none yet."""
        with self._database.transaction() as tx:
            return self.default_in(tx)

    def default_in(self, tx: store.Tx) -> RuleInForce:
        """The same, in the caller's transaction."""
        change = store.change_in_force(tx, DEFAULT, self._clock.now())
        if change is None:
            raise lease_lapsed()
        return to_rule(change)

    def of_in(self, tx: store.Tx, organization_id: str) -> RuleInForce:
        """The rule that counts for an organization now: its own, or the default. Raises as `default` does."""
        change = store.change_in_force(tx, organization_id, self._clock.now())
        if change is not None and rule_of(rules_pb2.RuleChange.FromString(change.payload)) is not None:
            return to_rule(change)
        return self.default_in(tx)

    def due_now(self) -> tuple[RuleInForce, date]:
        """The default rule, and the newest UTC day that is due under it for everybody: by the clocks of services that are behind this
        one's too, as far as clocks may be apart. Raises LEASE_LAPSED while no rule is in force."""
        with self._database.transaction() as tx:
            return self.due_in(tx)

    def due_in(self, tx: store.Tx) -> tuple[RuleInForce, date]:
        """The same, in the caller's transaction."""
        instant = self._clock.now() - CLOCK_TOLERANCE
        change = store.change_in_force(tx, DEFAULT, instant)
        rule = self.default_in(tx) if change is None else to_rule(change)
        return rule, rule.newest_due_day(instant)

    def poll(self, since_version: int, page_size: int) -> rules_pb2.ListRuleChangesResponse:
        """What a receiver asks for: the changes after a version, and the lease."""
        changes, lease = self._feed.poll(since_version, page_size)
        return rules_pb2.ListRuleChangesResponse(
            changes=[to_message(change) for change in changes], lease=lease
        )

"""The rules in their feed: the default, and those of lots (shared.terms) with a contract term. What a rule is and leads to is shared.terms.

While a run goes on no rule changes, and none begins right after a change: all that a run asks of other services goes by one set of rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from google.protobuf import duration_pb2

from kept.retention.v1 import rules_pb2
from services.retention import store
from shared.audit import entry
from shared.change_feed import LEASE_DURATION, Change, ChangeFeed
from shared.channels import MAX_MESSAGE_BYTES
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.errors import KeptError, Reason, lease_lapsed, limit_reached
from shared.jobs import Job
from shared.outbox import Outbox
from shared.terms import DEFAULT, Rule, Term, lot_prefix, parts_of, rule_of, rules_behind

# After a change: every process counts by it, however wrong its clock may be (each by so much as is tolerated, and both ways).
_SETTLES_IN: Final = 4 * CLOCK_TOLERANCE
# Before an application's term counts: logging seals to its keys earlier, as far as clocks may be apart, and access control makes none
# before it knows of the term, a lease later at the latest.
_BEGINS_IN: Final = LEASE_DURATION + 2 * CLOCK_TOLERANCE
# The days of all lots with a term of their own are said at once, so they have to fit into a message: the contracts take so many of them
# (max_items of `own`), the transport so many bytes of names, with what there is beside.
MOST_OWN: Final = 100_000
MOST_OWN_BYTES: Final = MAX_MESSAGE_BYTES - 64 * 1024
# Of a lot in such a message beside its names: the day, and what tells fields apart.
_BESIDE_NAMES: Final = 20


@dataclass(frozen=True)
class RuleInForce(Rule):
    """A rule as it is in force. version: of its change; effective_at: from when on."""

    version: int
    effective_at: datetime

    def late_from(self, day: date) -> datetime:
        """As for every rule; but what a rule made due when it came is not late before its run had the time that runs have."""
        return max(super().late_from(day), self.effective_at + self.run_window)

    def again(self, change: Change) -> "RuleInForce":
        """The rule for whoever it stands behind, from a change on."""
        return replace(self, version=change.version, effective_at=max(self.effective_at, change.effective_at))


@dataclass(frozen=True)
class DueRules:
    """What is due at an instant. through_day: by the default rule up to and including this UTC day. own: rules of lots that have their own,
    or had."""

    default: RuleInForce
    through_day: date
    own: Mapping[str, RuleInForce]
    instant: datetime

    def of(self, lot: str) -> RuleInForce:
        """The rule that counts for a lot."""
        return next((self.own[one] for one in rules_behind(lot) if one in self.own), self.default)

    def through(self, lot: str) -> date:
        """Up to which UTC day a lot is due."""
        rule = self.of(lot)
        return self.through_day if rule is self.default else rule.newest_due_day(self.instant)

    @property
    def own_days(self) -> dict[str, date]:
        """Up to which day lots are due that are so up to another than whoever stands behind them."""
        days = {name: (self.through(name), self.through(rules_behind(name)[1])) for name in self.own}
        return {name: day for name, (day, behind) in days.items() if day != behind}

    def is_more_than(self, before: "DueRules") -> bool:
        """Whether anything is due that was not before."""
        return self.through_day > before.through_day or any(
            self.through(name) > before.through(name) for name in self.own.keys() | before.own.keys()
        )

    def is_late(self, now: datetime, done: "DueRules | None") -> bool:
        """Whether what is due ought to be gone by now, but what was due for the last run that did all that it had to."""
        is_more = done is None or self.through_day > done.through_day
        if is_more and now >= self.default.late_from(self.through_day):
            return True
        return any(
            now >= rule.late_from(self.through(name))
            for name, rule in self.own.items()
            if done is None or self.through(name) > done.through(name)
        )


def own_days(due: DueRules) -> list[rules_pb2.OrganizationDue]:
    """`DueRules.own_days` as other services are told."""
    return days_of_lots(due.own_days)


def days_of_lots(days: Mapping[str, date]) -> list[rules_pb2.OrganizationDue]:
    """Days of lots as other services are told."""
    named = [(*parts_of(lot), day) for lot, day in sorted(days.items())]
    return [
        rules_pb2.OrganizationDue(
            organization_id=organization_id, through_day=day.isoformat(), application=application
        )
        for organization_id, application, day in named
    ]


def require_room(lots: int, names: int) -> None:
    """Raises LIMIT_REACHED where so many lots with a term of their own, their names so many bytes long, are more than can be said at
    once."""
    for kind, asked, limit in (
        ("contract_term", lots, MOST_OWN),
        ("contract_term_bytes", names + _BESIDE_NAMES * lots, MOST_OWN_BYTES),
    ):
        if asked > limit:
            raise limit_reached("There are as many contract terms as there may be.", kind, limit)


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


def _states_a_rule(change: Change) -> bool:
    return rule_of(rules_pb2.RuleChange.FromString(change.payload)) is not None


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
            if not self.may_change(tx):
                return False
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

    def of_in(self, tx: store.Tx, lot: str) -> RuleInForce:
        """The rule that counts for a lot now. Raises as `default` does."""
        for subject in rules_behind(lot):
            change = store.change_in_force(tx, subject, self._clock.now())
            if change is not None and _states_a_rule(change):
                return to_rule(change)
        raise lease_lapsed()

    def applications_in(self, tx: store.Tx, organization_id: str) -> dict[str, bool]:
        """The lots of an organization's applications, of all that have a term of their own or had one; whether one counts now."""
        changes = store.own_changes_in_force(tx, self._clock.now(), lot_prefix(organization_id))
        return {change.subject: _states_a_rule(change) for change in changes}

    def due_in(self, tx: store.Tx) -> DueRules:
        """What is due now for everybody: by the clocks of services that are behind this one's too, as far as clocks may be apart. Raises
        LEASE_LAPSED while no rule is in force."""
        instant = self._clock.now() - CLOCK_TOLERANCE
        change = store.change_in_force(tx, DEFAULT, instant)
        rule = self.default_in(tx) if change is None else to_rule(change)
        return self._due(tx, rule, rule.newest_due_day(instant), instant)

    def due_of(self, tx: store.Tx, started_at: datetime, rule: RuleInForce, through_day: date) -> DueRules:
        """What was due for a run that began then, with this default rule."""
        return self._due(tx, rule, through_day, started_at - CLOCK_TOLERANCE)

    @staticmethod
    def _due(tx: store.Tx, rule: RuleInForce, through_day: date, instant: datetime) -> DueRules:
        own: dict[str, RuleInForce] = {}
        for change in store.own_changes_in_force(
            tx, instant
        ):  # an organization's comes before its applications'
            behind = own.get(rules_behind(change.subject)[1], rule)
            own[change.subject] = to_rule(change) if _states_a_rule(change) else behind.again(change)
        return DueRules(rule, through_day, own, instant)

    def require_settled(self, tx: store.Tx) -> None:
        """Takes the rules' lock until the transaction ends. Raises OVERLOADED right after a change: some processes' clocks may not have
        reached it yet. The first rule of all changes nothing: before it nothing was due."""
        store.lock(tx, "rules")
        latest = store.newest_change_at(tx)
        if latest is not None and self._clock.now() < latest + _SETTLES_IN:
            raise KeptError(
                Reason.REASON_OVERLOADED,
                "A rule has just changed.",
                retry_after=latest + _SETTLES_IN - self._clock.now(),
            )

    def may_change(self, tx: store.Tx) -> bool:
        """Takes the rules' lock until the transaction ends; whether they may change: not while a run goes on."""
        store.lock(tx, "rules")
        return not store.is_run_going_on(tx)

    def set_own(self, tx: store.Tx, lot: str, term: Term | None, actor: str) -> datetime:
        """Changes a lot's own term, or ends it with None; from when on that counts. To be called where `may_change`."""
        default = self.default_in(tx)
        before = self.of_in(tx, lot)
        payload = b"" if term is None else to_payload(Rule(term, default.run_window))
        organization_id, application = parts_of(lot)
        since = self._clock.now() + _BEGINS_IN if application and term is not None else None
        change = self._feed.append(tx, lot, payload, since)
        after = self.of_in(tx, rules_behind(lot)[1]).term if term is None else term
        self._outbox.audit(
            tx,
            entry(
                "rule.changed",
                actor=actor,
                at=self._clock.now(),
                organization_id=organization_id,
                facts={
                    "term": f"{after.kind} {after.days} days",
                    "term_before": f"{before.term.kind} {before.term.days} days",
                    "version": change.version,
                    "effective_at": change.effective_at.isoformat(),
                    **({"application": application} if application else {}),
                },
            ),
        )
        return change.effective_at

    def poll(self, since_version: int, page_size: int) -> rules_pb2.ListRuleChangesResponse:
        """What a receiver asks for: the changes after a version, and the lease."""
        changes, lease = self._feed.poll(since_version, page_size)
        return rules_pb2.ListRuleChangesResponse(
            changes=[to_message(change) for change in changes], lease=lease
        )

"""Retention's rules as a leased replica: which rule counts for an organization or for one of its applications (shared.terms: lots), and
what is due by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from kept.replica.v1 import lease_pb2
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.errors import lease_lapsed
from shared.jobs import Job
from shared.replica import POLL_SECONDS, ReceivedChange, Replica
from shared.terms import Rule, lot_of, parts_of, rule_of, rules_behind

_PAGE: Final = 1000
# Questions are about now; the window only has to reach over a poll.
_WINDOW: Final = timedelta(minutes=1)
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class _Stated:
    """What a change states: a rule, or that the one behind it counts again."""

    rule: Rule | None


class Rules:
    """The rules, as far as a valid lease goes. Where not even a default rule is known it is not known what is due: LEASE_LAPSED."""

    def __init__(self, stub: rules_pb2_grpc.RuleServiceStub, clock: Clock) -> None:
        self._stub = stub
        self._replica: Replica[_Stated] = Replica("rules", self._poll, clock, window=_WINDOW)
        # Applications that have a rule of their own, or had one, by organization. None is ever taken out: its records may be there still.
        self._applications: dict[str, frozenset[str]] = {}

    @property
    def job(self) -> Job:
        """Keeps the replica complete."""
        return self._replica.job

    def require_lease(self) -> None:
        """Raises LEASE_LAPSED unless every rule that is in force now is known here."""
        self._replica.require_lease()

    def at(self, lot: str, instant: datetime) -> Rule:
        """The rule that counts for a lot at an instant of the last minute. Says nothing about the lease. Raises LEASE_LAPSED where none is
        known."""
        for subject in rules_behind(lot):
            stated = self._replica.at(subject, instant)
            if stated is not None and stated.rule is not None:
                return stated.rule
        raise lease_lapsed()

    def due_at(self, lot: str, day: date) -> datetime:
        """From when on a lot's records of a UTC day may be read no more, by the rule in force now. Raises LEASE_LAPSED."""
        return self.at(lot, self._replica.leased_now()).due_at(day)

    def is_due_by_all(self, lot: str, day: date) -> bool:
        """Whether a lot's records of a UTC day are due by every rule that may count now, as far as clocks may be apart: what is destroyed
        must be. Raises LEASE_LAPSED."""
        now = self._replica.leased_now()
        rules = self._that_may_count(rules_behind(lot), now - CLOCK_TOLERANCE, now + CLOCK_TOLERANCE)
        if None in rules:
            raise lease_lapsed()
        return all(rule is not None and rule.due_at(day) <= now for rule in rules)

    def _that_may_count(self, subjects: Sequence[str], begins: datetime, ends: datetime) -> list[Rule | None]:
        rules: list[Rule | None] = []
        for own in self._replica.throughout(subjects[0], begins, ends):
            if own is not None and own.rule is not None:
                rules.append(own.rule)
            else:
                rules += self._that_may_count(subjects[1:], begins, ends) if len(subjects) > 1 else [None]
        return rules

    def applications(self, organization_id: str) -> frozenset[str]:
        """Applications of an organization that have a term of their own, or had one: records may be sealed to keys of theirs. Nearly
        always none. Says nothing about the lease."""
        return self._applications.get(organization_id, _NONE)

    def applications_at(self, organization_id: str, instant: datetime) -> frozenset[str]:
        """Those of them with a term that counts at an instant of the last minute, as far as clocks may be apart. Says nothing about the
        lease."""
        return frozenset(
            one
            for one in self.applications(organization_id)
            if any(
                stated is not None and stated.rule is not None
                for stated in self._replica.throughout(
                    lot_of(organization_id, one), instant - CLOCK_TOLERANCE, instant + CLOCK_TOLERANCE
                )
            )
        )

    def _poll(self, since: int) -> tuple[Sequence[ReceivedChange[_Stated]], lease_pb2.Lease]:
        answer = self._stub.ListRuleChanges(
            rules_pb2.ListRuleChangesRequest(since_version=since, page_size=_PAGE), timeout=POLL_SECONDS
        )
        for change in answer.changes:
            organization_id, application = parts_of(change.organization_id)
            if application:
                self._applications[organization_id] = self.applications(organization_id) | {application}
        return [
            ReceivedChange(
                change.version,
                change.organization_id,
                change.effective_at.ToDatetime(tzinfo=UTC),
                _Stated(rule_of(change)),
            )
            for change in answer.changes
        ], answer.lease

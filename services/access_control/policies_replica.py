"""What access control knows of the others' decisions: settings' policies and retention's rules, as leased replicas.

Reads need both. Without a lease nothing is decided (LEASE_LAPSED): what is due, or whom a customer wants asked, is never guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from kept.replica.v1 import lease_pb2
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from shared.clock import Clock
from shared.errors import KeptError, Reason, lease_lapsed
from shared.ids import day_start
from shared.jobs import Job
from shared.replica import ReceivedChange, Replica

_PAGE: Final = 1000
# Questions here are always about now; the window only has to reach over a poll.
_WINDOW: Final = timedelta(minutes=1)
# The subject of the rule that counts where an organization has none of its own.
_DEFAULT_RULE: Final = ""
# Nothing that a calendar cannot hold is due: terms may be a hundred years long.
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Rule:
    """A retention rule. term: None where the default counts again."""

    term: rules_pb2.Term | None
    run_window: timedelta


def due_instant(day: date, term: rules_pb2.Term, run_window: timedelta) -> datetime:
    """From when on the records of a UTC day may be read no more.

    AT_MOST N days: day + N, 00:00 UTC, less the run window, so that no record gets older than N times 24 hours.
    AT_LEAST N days: day + N + 1, 00:00 UTC, so that every record gets that old.
    """
    try:
        if term.kind == rules_pb2.TERM_KIND_AT_MOST:
            return day_start(day + timedelta(days=term.days)) - run_window
        return day_start(day + timedelta(days=term.days + 1))
    except OverflowError:
        return _NEVER


class Policies:
    """Settings' policies of organizations."""

    def __init__(self, stub: policies_pb2_grpc.PolicyServiceStub, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._replica: Replica[policies_pb2.OrganizationPolicy] = Replica(
            "policies", self._poll, clock, window=_WINDOW
        )

    @property
    def job(self) -> Job:
        """Keeps the replica complete."""
        return self._replica.job

    def _poll(
        self, since: int
    ) -> tuple[Sequence[ReceivedChange[policies_pb2.OrganizationPolicy]], lease_pb2.Lease]:
        answer = self._stub.ListPolicyChanges(
            policies_pb2.ListPolicyChangesRequest(since_version=since, page_size=_PAGE)
        )
        return [
            ReceivedChange(
                change.version,
                "org:" + change.organization.organization_id,
                change.effective_at.ToDatetime(tzinfo=UTC),
                change.organization,
            )
            for change in answer.changes
            if change.HasField("organization")
        ], answer.lease

    def of(self, organization_id: str) -> policies_pb2.OrganizationPolicy:
        """The policy in force now. Raises LEASE_LAPSED, or UNKNOWN_ORGANIZATION where there is none."""
        self._replica.require_lease()
        policy = self._replica.at("org:" + organization_id, self._clock.now())
        if policy is None:
            raise KeptError(Reason.REASON_UNKNOWN_ORGANIZATION, "No organization of this id is known.")
        return policy

    def is_closed(self, organization_id: str) -> bool:
        """Whether nothing new is taken for the organization any more. Raises as `of` does."""
        return self.of(organization_id).closed


class Rules:
    """Retention's rules."""

    def __init__(self, stub: rules_pb2_grpc.RuleServiceStub, clock: Clock) -> None:
        self._stub = stub
        self._clock = clock
        self._replica: Replica[Rule] = Replica("rules", self._poll, clock, window=_WINDOW)

    @property
    def job(self) -> Job:
        """Keeps the replica complete."""
        return self._replica.job

    def _poll(self, since: int) -> tuple[Sequence[ReceivedChange[Rule]], lease_pb2.Lease]:
        answer = self._stub.ListRuleChanges(
            rules_pb2.ListRuleChangesRequest(since_version=since, page_size=_PAGE)
        )
        return [
            ReceivedChange(
                change.version,
                change.organization_id,
                change.effective_at.ToDatetime(tzinfo=UTC),
                Rule(change.term if change.HasField("term") else None, change.run_window.ToTimedelta()),
            )
            for change in answer.changes
        ], answer.lease

    def due_at(self, organization_id: str, day: date) -> datetime:
        """From when on the organization's records of a UTC day may be read no more, by the rule in force now. Raises LEASE_LAPSED,
        also where not even a default rule is known: then it is not known what is due."""
        self._replica.require_lease()
        now = self._clock.now()
        for subject in (organization_id, _DEFAULT_RULE):
            rule = self._replica.at(subject, now)
            if rule is not None and rule.term is not None:
                return due_instant(day, rule.term, rule.run_window)
        raise lease_lapsed()

"""What access control knows of settings' policies of organizations, as a leased replica.

Reads need it. Without a lease nothing is decided (LEASE_LAPSED): whom a customer wants asked is never guessed.
"""

from datetime import UTC, date, timedelta
from typing import Final

from kept.settings.v1 import policies_pb2, policies_pb2_grpc
from shared.clock import Clock
from shared.errors import unknown_organization
from shared.jobs import Job
from shared.policies import organization_subject, policy_replica

# Questions here are always about now; the window only has to reach over a poll.
_WINDOW: Final = timedelta(minutes=1)


class Policies:
    """Settings' policies of organizations."""

    def __init__(self, stub: policies_pb2_grpc.PolicyServiceStub, clock: Clock) -> None:
        self._clock = clock
        self._replica = policy_replica(stub, clock, lambda policy: policy, window=_WINDOW)

    @property
    def job(self) -> Job:
        """Keeps the replica complete."""
        return self._replica.job

    def require_lease(self) -> None:
        """Raises LEASE_LAPSED unless every policy that is in force now is known here."""
        self._replica.require_lease()

    def of(self, organization_id: str) -> policies_pb2.OrganizationPolicy:
        """The policy in force now. Raises LEASE_LAPSED, or UNKNOWN_ORGANIZATION where there is none."""
        policy = self._replica.at(organization_subject(organization_id), self._replica.leased_now())
        if policy is None:
            raise unknown_organization()
        return policy

    def require_known(self, organization_id: str) -> None:
        """Raises UNKNOWN_ORGANIZATION where there is none of this id, and LEASE_LAPSED where that is not for sure. One that is known stays
        so, closed or erased, and whether settings can be asked or not."""
        if not self._replica.is_known(organization_subject(organization_id)):
            raise unknown_organization()

    def is_closed(self, organization_id: str) -> bool:
        """Whether nothing new is taken for the organization any more. Raises as `of` does."""
        return self.of(organization_id).closed

    def is_erased_early(self, organization_id: str, day: date) -> bool:
        """Whether the organization wants its content of a day, and of all days before, gone before its term. Not of a day on which
        content may be sealed yet: what is destroyed is never made again. Raises as `of` does."""
        policy = self.of(organization_id)
        if not policy.HasField("content_erased_before"):
            return False
        before = policy.content_erased_before.ToDatetime(tzinfo=UTC)
        return day <= (before - timedelta(microseconds=1)).date() and (
            policy.zero_data_retention or policy.closed or day < self._clock.now().date()
        )

"""What logging knows of the others' decisions: settings' policies and retention's rules, as leased replicas."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

from kept.retention.v1 import rules_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2, policies_pb2_grpc
from services.logging.recording.admission import LATE_WINDOW, GatewayPolicy, OrganizationPolicy
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.errors import KeptError, Reason
from shared.identity import Caller
from shared.jobs import Job
from shared.policies import gateway_subject, organization_subject, policy_replica
from shared.replica import Replica
from shared.rules import Rules
from shared.service import CallerAuthority


class Policies:
    """Both replicas, and what is asked of settings' one. rules: retention's."""

    def __init__(
        self,
        policies: policies_pb2_grpc.PolicyServiceStub,
        rules: rules_pb2_grpc.RuleServiceStub,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._policies: Replica[OrganizationPolicy | GatewayPolicy] = policy_replica(
            policies, clock, organization_policy, gateway_policy, window=LATE_WINDOW
        )
        self.rules = Rules(rules, clock)

    @property
    def jobs(self) -> list[Job]:
        """The polls."""
        return [self._policies.job, self.rules.job]

    def leased_now(self) -> datetime:
        """The instant, where everything that is in force at it is known here. Raises LEASE_LAPSED."""
        now = self._policies.leased_now()
        self.rules.require_lease()
        return now

    def known_now(self) -> datetime | None:
        """The same; None without a lease."""
        try:
            return self.leased_now()
        except KeptError:
            return None

    def when_leased(self, step: Callable[[datetime], bool]) -> Callable[[], bool]:
        """A job's step that is given the instant. Without a lease it does nothing, and comes again: a process whose clock is wrong neither
        forgets nor shows anything early."""

        def leased() -> bool:
            now = self.known_now()
            return now is not None and step(now)

        return leased

    def require_leases(self) -> None:
        """Raises LEASE_LAPSED unless every policy and rule that is in force now is known here."""
        self._policies.require_lease()
        self.rules.require_lease()

    def organization_throughout(
        self, organization_id: str, begins: datetime, created_at: datetime, ends: datetime
    ) -> list[OrganizationPolicy | None]:
        """Every policy of an organization in force at some instant of [begins, ends]; None where none was known at `created_at` or
        later. An organization's first policy has nothing before it that could forbid more, so the tolerance before a record's
        creation may reach back to before there was any: what a customer records in its first five seconds is taken."""
        subject = organization_subject(organization_id)
        found = self._policies.throughout(subject, begins, ends)
        if len(found) == 1 and isinstance(found[0], OrganizationPolicy):
            return [found[0]]
        if (
            found[:1] == [None]
            and created_at <= ends
            and None not in self._policies.throughout(subject, created_at, ends)
        ):
            found = found[1:]
        return [policy if isinstance(policy, OrganizationPolicy) else None for policy in found]

    def is_closed(self, organization_id: str) -> bool:
        """Whether nothing is taken for the organization any more, as far as it is known here. Says nothing about the lease."""
        policy = self._policies.at(organization_subject(organization_id), self._clock.now())
        return isinstance(policy, OrganizationPolicy) and policy.closed

    def require_closed(self, organization_id: str) -> None:
        """Raises NOT_DUE unless the organization's policy in force now says that nothing is taken for it any more, LEASE_LAPSED where that
        is not known."""
        self._policies.require_lease()
        if not self.is_closed(organization_id):
            raise KeptError(
                Reason.REASON_NOT_DUE, "By the policies that logging knows, this organization is not closed."
            )

    def require_content_erased(self, organization_id: str, before: datetime) -> None:
        """Raises NOT_DUE unless the organization's policy in force now says that content from before this instant is to be erased,
        LEASE_LAPSED where that is not known."""
        policy = self._policies.at(organization_subject(organization_id), self._policies.leased_now())
        erased_before = policy.content_erased_before if isinstance(policy, OrganizationPolicy) else None
        if erased_before is None or erased_before < before:
            raise KeptError(
                Reason.REASON_NOT_DUE, "By the policies that logging knows, this content keeps its term."
            )

    def gateway_throughout(self, name: str, begins: datetime, ends: datetime) -> list[GatewayPolicy | None]:
        """Every policy of a gateway in force at some instant of the span; None where none was known."""
        found = self._policies.throughout(gateway_subject(name), begins, ends)
        return [policy if isinstance(policy, GatewayPolicy) else None for policy in found]

    def only_organization_of(self, name: str) -> str:
        """The organization of a gateway that may record for that one alone, as it is known here; empty where it may for others too. Says
        nothing about the lease."""
        now = self._clock.now()
        found = self.gateway_throughout(name, now, now + CLOCK_TOLERANCE)
        bound = {policy.organization_ids for policy in found if policy is not None}
        if (
            None in found
            or len(bound) != 1
            or any(policy is None or policy.all_organizations for policy in found)
        ):
            return ""
        ids = next(iter(bound))
        return next(iter(ids)) if len(ids) == 1 else ""

    def require_gateway(self, name: str) -> None:
        """Raises GATEWAY_NOT_REGISTERED unless the gateway may record for somebody now, LEASE_LAPSED when that is not known."""
        self._policies.require_lease()
        policy = self._policies.at(gateway_subject(name), self._clock.now())
        if not isinstance(policy, GatewayPolicy) or not policy.is_registered:
            raise KeptError(
                Reason.REASON_GATEWAY_NOT_REGISTERED,
                "This gateway is not registered; an operator registers it in settings.",
            )


def organization_policy(policy: policies_pb2.OrganizationPolicy) -> OrganizationPolicy:
    """What admission asks of an organization's policy."""
    return _one_of_alike(
        # Only what is known to record here does: a deployment to come is refused until this code knows it.
        policy.deployment == organizations_pb2.DEPLOYMENT_SAAS,
        policy.zero_data_retention,
        policy.closed,
        policy.usage_agreed,
        policy.content_erased_before.ToDatetime(tzinfo=UTC)
        if policy.HasField("content_erased_before")
        else None,
    )


@cache
def _one_of_alike(
    records_here: bool,
    zero_data_retention: bool,
    closed: bool,
    usage_agreed: bool,
    content_erased_before: datetime | None,
) -> OrganizationPolicy:
    """The one object of these: of a hundred thousand organizations almost all have the same policy."""
    return OrganizationPolicy(
        records_here=records_here,
        zero_data_retention=zero_data_retention,
        closed=closed,
        usage_agreed=usage_agreed,
        content_erased_before=content_erased_before,
    )


def gateway_policy(policy: policies_pb2.GatewayPolicy) -> GatewayPolicy:
    """What admission asks of a gateway's registration."""
    return GatewayPolicy(policy.all_organizations, frozenset(policy.organization_ids))


class LoggingAuthority:
    """People are decided on by access control; gateways by the policy replica."""

    def __init__(self, people: CallerAuthority, policies: Policies) -> None:
        self._people = people
        self._policies = policies

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        """See shared.service.CallerAuthority."""
        return self._people.authorize_person(caller, method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        """See shared.service.CallerAuthority."""
        self._policies.require_gateway(caller.name)
        return caller

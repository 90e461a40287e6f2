"""What logging knows of the others' decisions: settings' policies and retention's rules, as leased replicas.

Subjects of the first: "org:<id>" and "gateway:<name>"; of the second: an organization's id, and "" for the default rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.replica.v1 import lease_pb2
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2, policies_pb2_grpc
from services.logging.admission import LATE_WINDOW, GatewayPolicy, OrganizationPolicy
from services.logging.due import Rule, TermKind
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.errors import KeptError, Reason, lease_lapsed
from shared.identity import Caller
from shared.jobs import Job
from shared.replica import ReceivedChange, Replica
from shared.service import CallerAuthority

_PAGE: Final = 1000
_DEFAULT: Final = ""
# Questions about rules are about now; the window only has to reach over a poll.
_RULE_WINDOW: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class OrganizationRule:
    """An organization's rule; None where the default counts again."""

    rule: Rule | None


class Policies:
    """Both replicas, and what is asked of them."""

    def __init__(
        self,
        policies: policies_pb2_grpc.PolicyServiceStub,
        rules: rules_pb2_grpc.RuleServiceStub,
        clock: Clock,
    ) -> None:
        self._policies_stub = policies
        self._rules_stub = rules
        self._clock = clock
        self._policies: Replica[OrganizationPolicy | GatewayPolicy] = Replica(
            "policies", self._poll_policies, clock, window=LATE_WINDOW
        )
        self._rules: Replica[OrganizationRule] = Replica(
            "rules", self._poll_rules, clock, window=_RULE_WINDOW
        )

    @property
    def jobs(self) -> list[Job]:
        """The polls."""
        return [self._policies.job, self._rules.job]

    def require_leases(self) -> None:
        """Raises LEASE_LAPSED unless every policy and rule that is in force now is known here."""
        self._policies.require_lease()
        self._rules.require_lease()

    def require_rules_lease(self) -> None:
        """Raises LEASE_LAPSED unless every rule that is in force now is known here."""
        self._rules.require_lease()

    def organization_throughout(
        self, organization_id: str, begins: datetime, created_at: datetime, ends: datetime
    ) -> list[OrganizationPolicy | None]:
        """Every policy of an organization in force at some instant of [begins, ends]; None where none was known at `created_at` or
        later. An organization's first policy has nothing before it that could forbid more, so the tolerance before a record's
        creation may reach back to before there was any: what a customer records in its first five seconds is taken."""
        subject = "org:" + organization_id
        found = self._policies.throughout(subject, begins, ends)
        if (
            found[:1] == [None]
            and created_at <= ends
            and None not in self._policies.throughout(subject, created_at, ends)
        ):
            found = found[1:]
        return [policy if isinstance(policy, OrganizationPolicy) else None for policy in found]

    def gateway_throughout(self, name: str, begins: datetime, ends: datetime) -> list[GatewayPolicy | None]:
        """Every policy of a gateway in force at some instant of the span; None where none was known."""
        found = self._policies.throughout("gateway:" + name, begins, ends)
        return [policy if isinstance(policy, GatewayPolicy) else None for policy in found]

    def require_gateway(self, name: str) -> None:
        """Raises GATEWAY_NOT_REGISTERED unless the gateway may record for somebody now, LEASE_LAPSED when that is not known."""
        self._policies.require_lease()
        policy = self._policies.at("gateway:" + name, self._clock.now())
        if not isinstance(policy, GatewayPolicy) or not policy.is_registered:
            raise KeptError(
                Reason.REASON_GATEWAY_NOT_REGISTERED,
                "This gateway is not registered; an operator registers it in settings.",
            )

    def rule_at(self, organization_id: str, instant: datetime) -> Rule:
        """The rule that counts for an organization. Raises LEASE_LAPSED where not even a default rule is known."""
        own = self._rules.at(organization_id, instant)
        if own is not None and own.rule is not None:
            return own.rule
        default = self._rules.at(_DEFAULT, instant)
        if default is None or default.rule is None:
            raise lease_lapsed()
        return default.rule

    def require_default_rule(self, instant: datetime) -> None:
        """Raises LEASE_LAPSED unless `rule_at` has an answer for every organization."""
        self.rule_at(_DEFAULT, instant)

    def rules_around(self, organization_id: str, instant: datetime) -> list[Rule]:
        """Every rule that counts for an organization at some instant within the clock tolerance: what is destroyed must be due by all
        of them."""
        begins, ends = instant - CLOCK_TOLERANCE, instant + CLOCK_TOLERANCE
        found: list[Rule] = []
        for own in self._rules.throughout(organization_id, begins, ends):
            if own is not None and own.rule is not None:
                found.append(own.rule)
                continue
            for default in self._rules.throughout(_DEFAULT, begins, ends):
                if default is None or default.rule is None:
                    raise lease_lapsed()
                found.append(default.rule)
        return found

    def _poll_policies(
        self, since: int
    ) -> tuple[Sequence[ReceivedChange[OrganizationPolicy | GatewayPolicy]], lease_pb2.Lease]:
        answer = self._policies_stub.ListPolicyChanges(
            policies_pb2.ListPolicyChangesRequest(since_version=since, page_size=_PAGE)
        )
        return [
            made for change in answer.changes if (made := policy_change(change)) is not None
        ], answer.lease

    def _poll_rules(self, since: int) -> tuple[Sequence[ReceivedChange[OrganizationRule]], lease_pb2.Lease]:
        answer = self._rules_stub.ListRuleChanges(
            rules_pb2.ListRuleChangesRequest(since_version=since, page_size=_PAGE)
        )
        return [rule_change(change) for change in answer.changes], answer.lease


def policy_change(
    change: policies_pb2.PolicyChange,
) -> ReceivedChange[OrganizationPolicy | GatewayPolicy] | None:
    """A change of settings' feed; None for a subject of a kind to come."""
    policy: OrganizationPolicy | GatewayPolicy
    match change.WhichOneof("policy"):
        case "organization":
            subject = "org:" + change.organization.organization_id
            policy = OrganizationPolicy(
                # Only what is known to record here does: a deployment to come is refused until this code knows it.
                records_here=change.organization.deployment == organizations_pb2.DEPLOYMENT_SAAS,
                zero_data_retention=change.organization.zero_data_retention,
                closed=change.organization.closed,
            )
        case "gateway":
            subject = "gateway:" + change.gateway.name
            policy = GatewayPolicy(
                change.gateway.all_organizations, frozenset(change.gateway.organization_ids)
            )
        case _:
            return None
    return ReceivedChange(change.version, subject, change.effective_at.ToDatetime(tzinfo=UTC), policy)


def rule_change(change: rules_pb2.RuleChange) -> ReceivedChange[OrganizationRule]:
    """A change of retention's feed. Raises ValueError for a kind of term that this code does not know: no lease, then, rather than
    a wrong term."""
    rule: Rule | None = None
    if change.HasField("term"):
        kinds = {
            rules_pb2.TERM_KIND_AT_MOST: TermKind.AT_MOST,
            rules_pb2.TERM_KIND_AT_LEAST: TermKind.AT_LEAST,
        }
        kind = kinds.get(change.term.kind)
        if kind is None:
            raise ValueError("unknown kind of term")
        rule = Rule(kind, change.term.days, change.run_window.ToTimedelta())
    effective_at = change.effective_at.ToDatetime(tzinfo=UTC)
    return ReceivedChange(change.version, change.organization_id, effective_at, OrganizationRule(rule))


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

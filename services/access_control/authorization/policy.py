"""Authorization by policy: one set of Cedar files (https://docs.cedarpolicy.com), the package's own or an operator's.

The rules in `approval`, `grants` and `scope` say why something is refused; the policies say, in a form that an auditor reads, what is
allowed at all, and both must allow. An error in any policy is a denial.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import structlog

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import callers_pb2
from kept.policies import Entity, Explanation, PolicyFolder, PolicySet
from services.access_control.grants.approval import Approvals, may_be_by_rule
from services.access_control.grants.grant import Grant
from services.access_control.grants.scope import DataScope
from services.access_control.people.person import Member, Person, customer_role_name, power_name, role_name
from shared.enums import short_name
from shared.errors import KeptError, Reason

# The policies that come with this version, their schema, and the cases that they are tested with.
SHIPPED: Final = Path(__file__).parent / "policies"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Decision:
    """That something is allowed. policies: ids of those that allowed it. policy_set: SHA-256 of all policies, in hex."""

    policies: tuple[str, ...]
    policy_set: str

    @property
    def facts(self) -> dict[str, str]:
        """As the audit log has it."""
        return {"policies": ",".join(self.policies), "policy_set": self.policy_set}


class Denied(KeptError):
    """Policies do not allow it. facts: as the audit log has it. The metadata say what is missing and, to staff and services, which policies
    ask for it."""

    def __init__(self, metadata: Mapping[str, str], facts: Mapping[str, str]) -> None:
        super().__init__(
            Reason.REASON_NOT_AUTHORIZED,
            "You are not authorized for this; the details say what is missing.",
            metadata=metadata,
        )
        self.facts = dict(facts)


def shipped_schema() -> str:
    """What policies can speak of in this version. Raises PolicyError."""
    return PolicyFolder(SHIPPED).schema() or ""


@cache
def shipped_policies() -> PolicySet:
    """The package's own policies, read once. Raises PolicyError."""
    return PolicyFolder(SHIPPED).load(shipped_schema())


class Authorization:
    """Decides by the set in use: the package's own until `use` is given another. Each decision is by one set, whole."""

    def __init__(self, policies: PolicySet | None = None) -> None:
        self._policies = shipped_policies() if policies is None else policies

    @property
    def policies(self) -> PolicySet:
        """The set in use."""
        return self._policies

    @property
    def policy_set(self) -> str:
        """SHA-256 of the set in use, in hex."""
        return self._policies.sha256

    def use(self, policies: PolicySet) -> None:
        """Decides by another set from now on."""
        self._policies = policies

    def evaluate(
        self, principal: Entity, action: str, resource: Entity, context: Mapping[str, object] | None = None
    ) -> Decision | None:
        """The decision, or None where it is denied."""
        return _decide(self._policies, principal, action, resource, context)

    def require(
        self, principal: Entity, action: str, resource: Entity, context: Mapping[str, object] | None = None
    ) -> Decision:
        """The decision. Raises NOT_AUTHORIZED where it is denied, with what is missing: the conditions that did not hold, and no word about
        anything but the request's own principal, resource and moment."""
        policies = self._policies
        decision = _decide(policies, principal, action, resource, context)
        if decision is not None:
            return decision
        why = _explained(policies, principal, action, resource, context)
        metadata = {"missing": why.missing}
        if why.policies and principal["uid"]["type"] != "Member":
            metadata["policy"] = ", ".join(why.policies)
        if why.advice:
            metadata["advice"] = why.advice
        raise Denied(metadata, {"policies": ",".join(why.policies), "policy_set": policies.sha256})

    def approves_by_rule(
        self, grant: Grant, person: Person, customer_required: bool, now: datetime
    ) -> Decision | None:
        """The policies by which a person's grant of their own needs no colleague's approval; None where it does. customer_required: whether
        the organization asked to approve each access itself."""
        if not may_be_by_rule(grant, customer_required):
            return None
        return self.evaluate(
            person_entity(person, now),
            "ApproveByRule",
            grant_entity(grant, Approvals(0, False), now),
            {"customer_required": customer_required},
        )


def _explained(
    policies: PolicySet,
    principal: Entity,
    action: str,
    resource: Entity,
    context: Mapping[str, object] | None,
) -> Explanation:
    try:
        return policies.explain(principal, action, resource, context)
    except Exception as error:  # noqa: BLE001 - what is denied is denied and written down, whether it can be explained or not
        _log.error(
            "policy.unexplained", error=type(error).__name__, action=action, policy_set=policies.sha256
        )
        return Explanation((), (), "a policy that allows it")


def _decide(
    policies: PolicySet,
    principal: Entity,
    action: str,
    resource: Entity,
    context: Mapping[str, object] | None,
) -> Decision | None:
    verdict = policies.decide(principal, action, resource, context)
    if verdict.errors:
        _log.error("policy.failed", policies=list(verdict.errors), action=action, policy_set=policies.sha256)
    return Decision(verdict.policies, policies.sha256) if verdict.allowed else None


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _entity(kind: str, name: str, attributes: dict[str, object]) -> Entity:
    return {"uid": _uid(kind, name), "attrs": attributes, "parents": []}


def milliseconds(instant: datetime | None, otherwise: datetime = _EPOCH) -> int:
    """Milliseconds since 1970, rounded down, so that nothing is longer for it: `valid_from` and `now` alike."""
    return ((instant or otherwise) - _EPOCH) // timedelta(milliseconds=1)


def person_entity(person: Person, now: datetime, powers: frozenset[str] = frozenset()) -> Entity:
    """A person of the workforce at an instant."""
    return _entity(
        "Person",
        person.person_id,
        {
            "enabled": not person.disabled,
            "agreed": person.has_agreement(now),
            "roles": sorted(role_name(role) for role in person.roles_held(now)),
            "powers": sorted(powers),
        },
    )


def member_entity(member: Member) -> Entity:
    """A customer's member."""
    return _entity(
        "Member",
        member.member_id,
        {"organization": member.organization_id, "role": customer_role_name(member.role)},
    )


def principal_entity(somebody: Person | Member, now: datetime) -> Entity:
    """Whoever of people acts: one of the workforce, or a customer's member."""
    return member_entity(somebody) if isinstance(somebody, Member) else person_entity(somebody, now)


def service_entity(name: str) -> Entity:
    """A service."""
    return _entity("Service", name, {})


def organization_entity(organization_id: str) -> Entity:
    """An organization."""
    return _entity("Organization", organization_id, {})


def method_entity(method: str, callers: callers_pb2.Callers) -> Entity:
    """A method with its declared callers."""
    return _entity(
        "Method",
        method,
        {
            "any_staff": callers.any_staff,
            "roles": sorted(role_name(role) for role in callers.roles),
            "customers": sorted(customer_role_name(role) for role in callers.customers),
            "power": power_name(callers.power),
        },
    )


def what(grant: Grant) -> str:
    """What a grant is for, in one word: a purpose, or "POWER_" and a power."""
    if grant.data is not None:
        return short_name(grants_pb2.Purpose, grant.purpose)
    return "POWER_" + power_name(grant.power)


def permission_name(data: DataScope) -> str:
    """ "SCREENING" for SERVICE_PERMISSION_SCREENING; empty where a person reads."""
    if not data.is_for_service:
        return ""
    return short_name(grants_pb2.ServicePermission, data.permission)


def grant_entity(grant: Grant, approvals: Approvals, now: datetime) -> Entity:
    """A grant at an instant."""
    own = grant.is_customers_own
    return _entity(
        "Grant",
        grant.grant_id,
        {
            "requester": {"__entity": _uid("Person", "" if own else grant.requested_by)},
            "member": {"__entity": _uid("Member", grant.requested_by if own else "")},
            "what": what(grant),
            "organization": grant.organization_id,
            "state": short_name(grants_pb2.GrantState, grant.state_at(now)),
            # Without times it is worth nothing: it begins after it has ended.
            "valid_from": milliseconds(grant.valid_from, now + timedelta(days=1)),
            "expires_at": milliseconds(grant.expires_at),
            "detail": int(grant.data.detail) if grant.data is not None else 0,
            "for_case": bool(grant.data is not None and grant.data.case_id),
            "for_service": permission_name(grant.data) if grant.data is not None else "",
            "breaks_glass": grant.broken_glass is not None,
            "staff_approvals": approvals.staff,
            "staff_approvals_needed": grant.staff_approvals_needed,
            "customer_approved": approvals.customer,
            "duration": grant.duration // timedelta(milliseconds=1),
            "budget": grant.data.budget if grant.data is not None else 0,
            "has_ticket": bool(grant.ticket),
        },
    )

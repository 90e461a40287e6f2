"""Authorization by policy: the files in policies/*.cedar, evaluated by Cedar (https://docs.cedarpolicy.com).

The rules in `grants` say why something is refused; these say, in a form that an auditor reads, what is allowed at all, and both must
allow. Cedar skips a policy that fails to evaluate, a `forbid` too, so any error in its diagnostics is a denial here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import cedarpy

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import callers_pb2
from services.access_control.grants import Approvals, Grant, not_authorized
from services.access_control.people import Member, Person, customer_role_name, power_name, role_name
from shared.config import ConfigError

_FOLDER: Final = Path(__file__).parent / "policies"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Entity = dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """That something is allowed. policies: ids of those that allowed it. policy_set: SHA-256 of all policies, in hex."""

    policies: tuple[str, ...]
    policy_set: str

    @property
    def facts(self) -> dict[str, str]:
        """As the audit log has it."""
        return {"policies": ",".join(self.policies), "policy_set": self.policy_set}


class Authorization:
    """The policies, read and checked once. Raises ConfigError where they do not fit their schema."""

    def __init__(self, text: str | None = None, schema: str | None = None) -> None:
        text = read_policies() if text is None else text
        schema = (_FOLDER / "schema.cedarschema").read_text() if schema is None else schema
        checked = cedarpy.validate_policies(text, schema)
        if not checked.validation_passed:
            raise ConfigError(
                "The policies do not fit their schema: " + "; ".join(str(e) for e in checked.errors)
            )
        self._policies = cedarpy.PolicySet.from_str(text)
        self.policy_set = hashlib.sha256(text.encode()).hexdigest()

    def evaluate(
        self, principal: Entity, action: str, resource: Entity, context: Mapping[str, object] | None = None
    ) -> Decision | None:
        """The decision, or None where it is denied."""
        entities = [principal, resource]
        result = cedarpy.is_authorized(
            {
                "principal": principal["uid"],
                "action": {"type": "Action", "id": action},
                "resource": resource["uid"],
                "context": dict(context or {}),
            },
            self._policies,
            json.dumps(entities),
        )
        if result.diagnostics.errors or not result.allowed:
            return None
        names = result.diagnostics.id_annotations_by_reason
        return Decision(
            tuple(sorted(names.get(reason, reason) for reason in result.diagnostics.reasons)), self.policy_set
        )

    def require(
        self, principal: Entity, action: str, resource: Entity, context: Mapping[str, object] | None = None
    ) -> Decision:
        """The decision. Raises NOT_AUTHORIZED where it is denied."""
        decision = self.evaluate(principal, action, resource, context)
        if decision is None:
            raise not_authorized("a policy that allows it")
        return decision


def read_policies() -> str:
    """All policies as one text, in order of their files' names."""
    return "\n".join(path.read_text() for path in sorted(_FOLDER.glob("*.cedar")))


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
            "roles": sorted(role_name(role) for role in person.confirmed_roles),
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
        return grants_pb2.Purpose.Name(grant.purpose).removeprefix("PURPOSE_")
    return "POWER_" + power_name(grant.power)


def grant_entity(grant: Grant, approvals: Approvals, now: datetime) -> Entity:
    """A grant at an instant."""
    return _entity(
        "Grant",
        grant.grant_id,
        {
            "requester": {"__entity": _uid("Person", grant.requested_by)},
            "what": what(grant),
            "organization": grant.organization_id,
            "state": grants_pb2.GrantState.Name(grant.state_at(now)).removeprefix("GRANT_STATE_"),
            # Without times it is worth nothing: it begins after it has ended.
            "valid_from": milliseconds(grant.valid_from, now + timedelta(days=1)),
            "expires_at": milliseconds(grant.expires_at),
            "detail": int(grant.data.detail) if grant.data is not None else 0,
            "for_case": bool(grant.data is not None and grant.data.case_id),
            "staff_approvals": approvals.staff,
            "staff_approvals_needed": grant.staff_approvals_needed,
            "customer_approved": approvals.customer,
        },
    )

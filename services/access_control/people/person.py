"""Who is who: people of the workforce, their roles and agreements, and customers' members. Plain data and the rules on it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kept.options.v1 import roles_pb2
from services.access_control.people.standing import (
    LONGEST_AGREEMENT,
    Agreement,
    Provider,
    RoleAssignment,
    agreed_until,
)
from shared.enums import short_name

__all__ = [
    "LONGEST_AGREEMENT",
    "Agreement",
    "CustomerRole",
    "Identity",
    "Member",
    "Person",
    "Provider",
    "RoleAssignment",
    "StaffRole",
    "customer_role_name",
    "power_name",
    "role_name",
]

StaffRole = roles_pb2.StaffRole
CustomerRole = roles_pb2.CustomerRole
Roles = frozenset["roles_pb2.StaffRole.ValueType"]

_NOBODY: Final[Roles] = frozenset()


@dataclass(frozen=True)
class Identity:
    """A way to sign in, of one person for ever. confirmed_by: empty while it is only proposed, and then nobody signs in with it."""

    identity_id: str
    person_id: str
    issuer: str
    subject: str
    linked_by: str
    linked_at: datetime
    confirmed_by: str = ""


@dataclass(frozen=True)
class Person:
    """A person of the workforce, whatever number of identities they sign in with. agreement_until: until when the agreements needed are in
    force, the provider's included; None where one is missing. provider: None for the vendor's own. affiliations: organizations that the
    person has to do with."""

    person_id: str
    display_name: str
    email: str
    roles: tuple[RoleAssignment, ...] = ()
    agreement_until: datetime | None = None
    disabled: bool = False
    provider: Provider | None = None
    agreements: tuple[Agreement, ...] = ()
    affiliations: frozenset[str] = frozenset()

    def has_agreement(self, now: datetime) -> bool:
        """Whether what has to be signed is in force: no longer at the instant at which it ends."""
        return self.agreement_until is not None and now < self.agreement_until

    def roles_held(self, now: datetime) -> Roles:
        """Roles that a second person confirmed and that have not lapsed, whether the person counts or not."""
        return frozenset(role.role for role in self.roles if role.counts(now))

    def counts(self, now: datetime) -> bool:
        """Whether the person may do anything at all now."""
        return not self.disabled and self.has_agreement(now)

    def is_listed(self, now: datetime) -> bool:
        """Whether the person is the vendor's own, or comes from a provider that is on the published list of sub-processors."""
        return self.provider is None or self.provider.is_listed(now)

    def roles_at(self, now: datetime) -> Roles:
        """Roles that count now: none of a disabled person, or of one without an agreement."""
        return self.roles_held(now) if self.counts(now) else _NOBODY


def signed_until(agreements: tuple[Agreement, ...], provider: Provider | None) -> datetime | None:
    """Until when a person counts by what was signed: by the person and, where they come from one, by the provider."""
    own = agreed_until(agreements)
    if provider is None or own is None:
        return own
    return None if provider.until is None else min(own, provider.until)


@dataclass(frozen=True)
class Member:
    """A customer's person as settings has it. role: UNSPECIFIED once gone."""

    member_id: str
    organization_id: str
    role: "roles_pb2.CustomerRole.ValueType"
    display_name: str
    revision: int

    @property
    def is_admin(self) -> bool:
        """Whether the member governs the organization."""
        return self.role == roles_pb2.CUSTOMER_ROLE_ADMIN


def role_name(role: "roles_pb2.StaffRole.ValueType") -> str:
    """ "ENGINEER" for STAFF_ROLE_ENGINEER: as policies, facts and errors write it."""
    return short_name(StaffRole, role)


def customer_role_name(role: "roles_pb2.CustomerRole.ValueType") -> str:
    """ "ADMIN" for CUSTOMER_ROLE_ADMIN."""
    return short_name(CustomerRole, role)


def power_name(power: "roles_pb2.Power.ValueType") -> str:
    """ "LEGAL" for POWER_LEGAL; empty for none."""
    return short_name(roles_pb2.Power, power) if power else ""

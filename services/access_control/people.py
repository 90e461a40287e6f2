"""Who is who: people of the workforce, their roles and agreements, and customers' members. Plain data and the rules on it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from kept.options.v1 import roles_pb2

# A signed agreement is good for a year and a month, so that it is renewed in time.
LONGEST_AGREEMENT: Final = timedelta(days=400)

StaffRole = roles_pb2.StaffRole
CustomerRole = roles_pb2.CustomerRole


@dataclass(frozen=True)
class RoleAssignment:
    """A role of a person that has not ended. confirmed_by: empty while it is only proposed, and then it counts for nothing."""

    role_assignment_id: str
    person_id: str
    role: "roles_pb2.StaffRole.ValueType"
    assigned_by: str
    assigned_at: datetime
    confirmed_by: str = ""


@dataclass(frozen=True)
class Person:
    """A person of the workforce, whatever number of identities they sign in with. agreement_until: None without an agreement."""

    person_id: str
    display_name: str
    email: str
    roles: tuple[RoleAssignment, ...] = ()
    agreement_until: datetime | None = None
    disabled: bool = False

    def has_agreement(self, now: datetime) -> bool:
        """Whether a signed agreement is in force: no longer at the instant at which it ends."""
        return self.agreement_until is not None and now < self.agreement_until

    @property
    def confirmed_roles(self) -> frozenset["roles_pb2.StaffRole.ValueType"]:
        """Roles that a second person confirmed."""
        return frozenset(role.role for role in self.roles if role.confirmed_by)

    def counts(self, now: datetime) -> bool:
        """Whether the person may do anything at all now."""
        return not self.disabled and self.has_agreement(now)

    def roles_at(self, now: datetime) -> frozenset["roles_pb2.StaffRole.ValueType"]:
        """Roles that count now: none of a disabled person, or of one without an agreement."""
        return self.confirmed_roles if self.counts(now) else frozenset()


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
    return StaffRole.Name(role).removeprefix("STAFF_ROLE_")


def customer_role_name(role: "roles_pb2.CustomerRole.ValueType") -> str:
    """ "ADMIN" for CUSTOMER_ROLE_ADMIN."""
    return CustomerRole.Name(role).removeprefix("CUSTOMER_ROLE_")


def power_name(power: "roles_pb2.Power.ValueType") -> str:
    """ "LEGAL" for POWER_LEGAL; empty for none."""
    return roles_pb2.Power.Name(power).removeprefix("POWER_") if power else ""

"""Who may ask for what, who may approve it, and whose approval counts now.

Every function is a function of its arguments; what a rule needs to know is passed in. policies/*.cedar says the same to auditors, and both
must allow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.grant import Grant, require_in_force
from services.access_control.people.person import Member, Person, role_name
from shared.errors import KeptError, Reason

Roles = frozenset["roles_pb2.StaffRole.ValueType"]
_OPERATOR: Final = roles_pb2.STAFF_ROLE_OPERATOR
_ENGINEER: Final = roles_pb2.STAFF_ROLE_ENGINEER
_SAFETY: Final = roles_pb2.STAFF_ROLE_SAFETY
_LEGAL: Final = roles_pb2.STAFF_ROLE_LEGAL
_ON_CALL: Final[Roles] = frozenset({roles_pb2.STAFF_ROLE_ON_CALL})
# Who may ask, and whose approval counts.
PURPOSE_REQUESTERS: Final[Mapping["grants_pb2.Purpose.ValueType", Roles]] = {
    grants_pb2.PURPOSE_ENGINEERING_SUPPORT: frozenset({_ENGINEER}),
    grants_pb2.PURPOSE_LEGAL_COMPLIANCE: frozenset({_LEGAL}),
    grants_pb2.PURPOSE_SAFETY_AND_SECURITY: frozenset({_SAFETY}),
}
PURPOSE_APPROVERS: Final[Mapping["grants_pb2.Purpose.ValueType", Roles]] = {
    grants_pb2.PURPOSE_ENGINEERING_SUPPORT: frozenset({_ENGINEER, _OPERATOR}),
    grants_pb2.PURPOSE_LEGAL_COMPLIANCE: frozenset({_LEGAL}),
    grants_pb2.PURPOSE_SAFETY_AND_SECURITY: frozenset({_SAFETY}),
    # Where the organization has no other admin, who decides then: see `require_approver`.
    grants_pb2.PURPOSE_CUSTOMER_EXPORT: frozenset({_OPERATOR, _LEGAL}),
}
POWER_REQUESTERS: Final[Mapping["roles_pb2.Power.ValueType", Roles]] = {
    roles_pb2.POWER_OPERATOR: frozenset({_OPERATOR}),
    roles_pb2.POWER_ROLE_ASSIGNMENT: frozenset({_OPERATOR}),
    roles_pb2.POWER_LEGAL: frozenset({_LEGAL}),
}
POWER_APPROVERS: Final[Mapping["roles_pb2.Power.ValueType", Roles]] = {
    roles_pb2.POWER_OPERATOR: frozenset({_OPERATOR}),
    roles_pb2.POWER_ROLE_ASSIGNMENT: frozenset({_OPERATOR}),
    roles_pb2.POWER_LEGAL: frozenset({_LEGAL, _OPERATOR}),
}


def requester_roles(grant: Grant) -> Roles:
    """Who may ask for this, and hold it."""
    if grant.data is not None:
        return PURPOSE_REQUESTERS.get(grant.purpose, frozenset())
    return POWER_REQUESTERS.get(grant.power, frozenset())


def approver_roles(grant: Grant) -> Roles:
    """Whose approval counts."""
    if grant.data is not None:
        return PURPOSE_APPROVERS.get(grant.purpose, frozenset())
    return POWER_APPROVERS.get(grant.power, frozenset())


@dataclass(frozen=True)
class Approvals:
    """Approvals that count now: different people of staff, and whether an admin of the customer is among them."""

    staff: int
    customer: bool

    def suffice(self, grant: Grant, customer_required: bool) -> bool:
        """Whether nothing is missing."""
        if grant.is_customers_own:
            return self.customer or self.staff >= grant.staff_approvals_needed
        return self.staff >= grant.staff_approvals_needed and (self.customer or not customer_required)


def not_authorized(missing: str) -> KeptError:
    """The person is known and lacks something."""
    return KeptError(
        Reason.REASON_NOT_AUTHORIZED,
        "You are not authorized for this; the details say what is missing.",
        metadata={"missing": missing},
    )


def second_person(text: str) -> KeptError:
    """One person may not do both halves."""
    return KeptError(Reason.REASON_SECOND_PERSON_REQUIRED, text)


def require_standing(person: Person, now: datetime) -> None:
    """Raises NOT_AUTHORIZED for a person that is disabled, or has no agreement in force."""
    if person.disabled:
        raise not_authorized("an enabled person")
    if not person.has_agreement(now):
        raise not_authorized("a signed agreement in force")


def require_listed(person: Person, now: datetime) -> None:
    """Raises PROVIDER_NOT_LISTED for somebody from a provider that customers cannot find on the list of sub-processors."""
    if not person.is_listed(now):
        raise KeptError(
            Reason.REASON_PROVIDER_NOT_LISTED,
            "Your provider is not known to be on the published list of sub-processors; its people hold and approve no grants.",
        )


def is_conflicted(grant: Grant, person: Person) -> bool:
    """Whether it is for a case of an organization that the person has to do with: not theirs to hold, to decide, or to know of."""
    data = grant.data
    return data is not None and bool(data.case_id) and data.organization_id in person.affiliations


def _require_one_of(person: Person, roles: Roles, now: datetime) -> None:
    require_standing(person, now)
    require_listed(person, now)
    if not roles & person.roles_at(now):
        raise not_authorized("one of the roles " + ", ".join(sorted(role_name(role) for role in roles)))


def require_requester(grant: Grant, holder: Person | Member, now: datetime) -> None:
    """Whether this person may ask for that, and hold it. Raises NOT_AUTHORIZED, PROVIDER_NOT_LISTED, CONFLICT_OF_INTEREST."""
    if isinstance(holder, Member):
        if not grant.is_customers_own:
            raise not_authorized("the purpose customer export, which is the one for customers")
        if not _governs(grant, holder):
            raise not_authorized("the role ADMIN in this organization")
        return
    if grant.is_customers_own:
        raise not_authorized("an admin of the organization: its own export is for nobody else")
    _require_one_of(holder, requester_roles(grant), now)
    if grant.broken_glass is not None:
        _require_one_of(holder, _ON_CALL, now)
    if is_conflicted(grant, holder):
        raise KeptError(
            Reason.REASON_CONFLICT_OF_INTEREST,
            "You are affiliated with the organization; a colleague handles its cases.",
        )


def require_power_requester(power: "roles_pb2.Power.ValueType", person: Person, now: datetime) -> None:
    """Whether this person may ask for a grant of that power, and hold it. Raises NOT_AUTHORIZED, PROVIDER_NOT_LISTED."""
    _require_one_of(person, POWER_REQUESTERS.get(power, frozenset()), now)


def require_approver(grant: Grant, decider: Person | Member, now: datetime, other_admins: int = 0) -> None:
    """Whether this person may decide that. Compares people, not identities. other_admins: how many admins the organization has beside who
    asked; in its own export they decide, and one of the vendor's people only where there is none. Raises SECOND_PERSON_REQUIRED,
    CUSTOMER_DECIDES or NOT_AUTHORIZED."""
    if _id_of(decider) == grant.requested_by:
        raise second_person("Nobody decides their own request.")
    if isinstance(decider, Member):
        if not _governs(grant, decider):
            raise not_authorized("the role ADMIN in this organization")
        return
    if grant.is_customers_own and other_admins:
        raise KeptError(
            Reason.REASON_CUSTOMER_DECIDES,
            "The organization has another admin, and decides on its own export itself.",
        )
    _require_one_of(decider, approver_roles(grant), now)


def _id_of(somebody: Person | Member) -> str:
    return somebody.member_id if isinstance(somebody, Member) else somebody.person_id


def _governs(grant: Grant, member: Member) -> bool:
    """Whether it is on the organization that the member is an admin of."""
    return member.is_admin and grant.data is not None and grant.organization_id == member.organization_id


def may_decide(grant: Grant, decider: Person | Member, now: datetime) -> bool:
    """The same as a question, for people and customers' admins; and whether who has to do with the organization of a case is left out."""
    if isinstance(decider, Member):
        return _governs(grant, decider) and decider.member_id != grant.requested_by
    return (
        decider.person_id != grant.requested_by
        and decider.is_listed(now)
        and not is_conflicted(grant, decider)
        and bool(approver_roles(grant) & decider.roles_at(now))
    )


def may_be_by_rule(grant: Grant, customer_required: bool) -> bool:
    """Whether a policy may approve it at all, whoever wrote the policy: never all of a record's content, never a power or a service's
    permission, never a customer's own export, and never past a customer who asked to approve each access."""
    data = grant.data
    return (
        data is not None
        and data.detail != grants_pb2.DETAIL_FULL
        and not data.is_for_service
        and not grant.is_customers_own
        and not customer_required
    )


def may_see(grant: Grant, viewer: Person | Member, now: datetime) -> bool:
    """One's own, what one could decide, or what is on one's own organization. Who has to do with a case's organization sees none for it."""
    if isinstance(viewer, Member):
        return _governs(grant, viewer)
    if is_conflicted(grant, viewer):
        return False
    return viewer.person_id == grant.requested_by or may_decide(grant, viewer, now)


def counted(
    grant: Grant, people: Mapping[str, Person], members: Mapping[str, Member], now: datetime
) -> Approvals:
    """The approvals that count now: of different people who could approve it at this moment."""
    staff = {
        vote.approved_by
        for vote in grant.votes_in_force
        if not vote.by_customer
        and vote.approved_by in people
        and may_decide(grant, people[vote.approved_by], now)
    }
    customer = any(
        vote.by_customer and vote.approved_by in members and may_decide(grant, members[vote.approved_by], now)
        for vote in grant.votes_in_force
    )
    return Approvals(len(staff), customer)


def require_usable(
    grant: Grant, holder: Person | Member, approvals: Approvals, customer_required: bool, now: datetime
) -> None:
    """Whether the grant is worth anything at this instant: in its time, with a holder and approvers who still could hold and approve it.

    Raises what `require_in_force` raises, NOT_AUTHORIZED, GRANT_REVOKED or CUSTOMER_APPROVAL_REQUIRED.
    """
    require_in_force(grant, now)
    require_requester(grant, holder, now)
    if approvals.staff < grant.staff_approvals_needed and not (grant.is_customers_own and approvals.customer):
        raise KeptError(Reason.REASON_GRANT_REVOKED, "Who approved the grant could not approve it any more.")
    if customer_required and not approvals.customer:
        raise KeptError(
            Reason.REASON_CUSTOMER_APPROVAL_REQUIRED,
            "The organization approves each access itself and has not approved this one.",
        )

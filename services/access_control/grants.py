"""Grants, as plain data and rules: who may ask, who may approve, and is this grant usable now, for these records?

Every function here is a function of its arguments; what a rule needs to know is passed in. Who asks why gets one reason: the first
thing that is wrong, in an order that gives nothing away to somebody whose grant it is not.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.people import Member, Person, role_name
from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.ids import is_record_id, record_time

# An undecided request lapses after this long.
TIME_TO_DECIDE: Final = timedelta(hours=24)
# How far ahead a grant may be asked to start.
FARTHEST_START: Final = timedelta(days=30)

Purpose = grants_pb2.Purpose
Detail = grants_pb2.Detail
State = grants_pb2.GrantState
Roles = frozenset["roles_pb2.StaffRole.ValueType"]

REQUESTED: Final = grants_pb2.GRANT_STATE_REQUESTED
APPROVED: Final = grants_pb2.GRANT_STATE_APPROVED
DENIED: Final = grants_pb2.GRANT_STATE_DENIED
CANCELLED: Final = grants_pb2.GRANT_STATE_CANCELLED
REVOKED: Final = grants_pb2.GRANT_STATE_REVOKED
EXPIRED: Final = grants_pb2.GRANT_STATE_EXPIRED
_FINAL: Final = frozenset({DENIED, CANCELLED, REVOKED, EXPIRED})

_OPERATOR: Final = roles_pb2.STAFF_ROLE_OPERATOR
_ENGINEER: Final = roles_pb2.STAFF_ROLE_ENGINEER
_SAFETY: Final = roles_pb2.STAFF_ROLE_SAFETY
_LEGAL: Final = roles_pb2.STAFF_ROLE_LEGAL

# Who may ask, and whose approval counts. policies/grants.cedar says the same to auditors; both must allow.
PURPOSE_REQUESTERS: Final[Mapping["grants_pb2.Purpose.ValueType", Roles]] = {
    grants_pb2.PURPOSE_ENGINEERING_SUPPORT: frozenset({_ENGINEER}),
    grants_pb2.PURPOSE_LEGAL_COMPLIANCE: frozenset({_LEGAL}),
    grants_pb2.PURPOSE_SAFETY_AND_SECURITY: frozenset({_SAFETY}),
}
PURPOSE_APPROVERS: Final[Mapping["grants_pb2.Purpose.ValueType", Roles]] = {
    grants_pb2.PURPOSE_ENGINEERING_SUPPORT: frozenset({_ENGINEER, _OPERATOR}),
    grants_pb2.PURPOSE_LEGAL_COMPLIANCE: frozenset({_LEGAL}),
    grants_pb2.PURPOSE_SAFETY_AND_SECURITY: frozenset({_SAFETY}),
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


@dataclass(frozen=True)
class DataScope:
    """Records of one organization. start, until: of creation, half open. record_ids: empty for all of the span (of the case's)."""

    organization_id: str
    detail: "grants_pb2.Detail.ValueType"
    budget: int
    start: datetime | None = None
    until: datetime | None = None
    record_ids: frozenset[bytes] = frozenset()
    case_id: str = ""


@dataclass(frozen=True)
class Vote:
    """One person's approval."""

    approved_by: str
    approved_at: datetime
    by_customer: bool


@dataclass(frozen=True)
class Grant:
    """A grant, from request to end: of data, or (where `data` is None) of a power. `state` is the stored one; see `state_at`."""

    grant_id: str
    requested_by: str
    request_id: str
    data: DataScope | None
    power: "roles_pb2.Power.ValueType"
    purpose: "grants_pb2.Purpose.ValueType"
    reason: str
    ticket: str
    state: "grants_pb2.GrantState.ValueType"
    requested_at: datetime
    request_expires_at: datetime
    duration: timedelta
    start_at: datetime | None = None
    votes: tuple[Vote, ...] = ()
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    used: int = 0

    def state_at(self, now: datetime) -> "grants_pb2.GrantState.ValueType":
        """The state as it counts: expiry is a matter of time, nobody has to write it down. At `expires_at` it is over."""
        if self.state == REQUESTED and now >= self.request_expires_at:
            return EXPIRED
        if self.state == APPROVED and (self.expires_at is None or now >= self.expires_at):
            return EXPIRED
        return self.state

    def is_over(self, now: datetime) -> bool:
        """Whether the state can change no more."""
        return self.state_at(now) in _FINAL

    @property
    def organization_id(self) -> str:
        """The organization of data; empty for a power."""
        return self.data.organization_id if self.data is not None else ""

    @property
    def requester_roles(self) -> Roles:
        """Who may ask for this."""
        table = (
            PURPOSE_REQUESTERS.get(self.purpose)
            if self.data is not None
            else POWER_REQUESTERS.get(self.power)
        )
        return table or frozenset()

    @property
    def approver_roles(self) -> Roles:
        """Whose approval counts."""
        table = (
            PURPOSE_APPROVERS.get(self.purpose) if self.data is not None else POWER_APPROVERS.get(self.power)
        )
        return table or frozenset()

    @property
    def staff_approvals_needed(self) -> int:
        """Two for everything of an organization in full, one otherwise."""
        data = self.data
        everything = data is not None and not data.record_ids and not data.case_id
        return 2 if data is not None and everything and data.detail == grants_pb2.DETAIL_FULL else 1


@dataclass(frozen=True)
class Approvals:
    """Approvals that count now: different people of staff, and whether an admin of the customer is among them."""

    staff: int
    customer: bool

    def suffice(self, grant: Grant, customer_required: bool) -> bool:
        """Whether nothing is missing."""
        return self.staff >= grant.staff_approvals_needed and (self.customer or not customer_required)


@dataclass(frozen=True)
class Case:
    """A case of safety review. state: "open", "upheld" (closed, a violation confirmed) or "closed"."""

    case_id: str
    organization_id: str
    state: str


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


def _require_one_of(person: Person, roles: Roles, now: datetime) -> None:
    require_standing(person, now)
    if not roles & person.roles_at(now):
        raise not_authorized("one of the roles " + ", ".join(sorted(role_name(role) for role in roles)))


def require_sound(grant: Grant, case: Case | None, now: datetime) -> None:
    """Whether a request makes sense. case: the one it names, if that is known. Raises INVALID_ARGUMENT or CASE_NOT_OPEN."""
    if grant.start_at is not None and grant.start_at > now + FARTHEST_START:
        raise invalid("start_at", "is more than 30 days ahead")
    data = grant.data
    if data is None:
        if grant.purpose != grants_pb2.PURPOSE_UNSPECIFIED:
            raise invalid("purpose", "is for data only, not for a power")
        return
    if grant.purpose == grants_pb2.PURPOSE_UNSPECIFIED:
        raise invalid("purpose", "is required for data")
    if data.start is not None and data.until is not None and data.until <= data.start:
        raise invalid("data.until", "is not later than data.from")
    if not all(is_record_id(record_id) for record_id in data.record_ids):
        raise invalid("data.record_ids", "are not all laid out as UUIDv7")
    if data.case_id:
        if grant.purpose != grants_pb2.PURPOSE_SAFETY_AND_SECURITY:
            raise invalid("purpose", "must be safety and security for a case")
        if case is None or case.organization_id != data.organization_id or case.state == "closed":
            raise case_not_open()


def case_not_open() -> KeptError:
    """The case is none that admits this."""
    return KeptError(Reason.REASON_CASE_NOT_OPEN, "The case is not open, or these records are not its own.")


def require_requester(grant: Grant, person: Person, now: datetime) -> None:
    """Whether this person may ask for that. Raises NOT_AUTHORIZED."""
    _require_one_of(person, grant.requester_roles, now)


def require_approver(grant: Grant, person: Person, now: datetime) -> None:
    """Whether this person of staff may decide that. Compares people, not identities. Raises SECOND_PERSON_REQUIRED or NOT_AUTHORIZED."""
    if person.person_id == grant.requested_by:
        raise second_person("Nobody decides their own request.")
    _require_one_of(person, grant.approver_roles, now)


def may_decide(grant: Grant, decider: Person | Member, now: datetime) -> bool:
    """The same as a question, for people and customers' admins."""
    if isinstance(decider, Member):
        return (
            decider.is_admin and grant.data is not None and grant.organization_id == decider.organization_id
        )
    return decider.person_id != grant.requested_by and bool(grant.approver_roles & decider.roles_at(now))


def may_see(grant: Grant, viewer: Person | Member, now: datetime) -> bool:
    """One's own, what one could decide, or what is on one's own organization."""
    own = isinstance(viewer, Person) and viewer.person_id == grant.requested_by
    return own or may_decide(grant, viewer, now)


def counted(
    grant: Grant, people: Mapping[str, Person], members: Mapping[str, Member], now: datetime
) -> Approvals:
    """The approvals that count now: of different people who could approve it at this moment."""
    staff = {
        vote.approved_by
        for vote in grant.votes
        if not vote.by_customer
        and vote.approved_by in people
        and may_decide(grant, people[vote.approved_by], now)
    }
    customer = any(
        vote.by_customer and vote.approved_by in members and may_decide(grant, members[vote.approved_by], now)
        for vote in grant.votes
    )
    return Approvals(len(staff), customer)


def require_state(grant: Grant, wanted: "grants_pb2.GrantState.ValueType", now: datetime) -> None:
    """Raises WRONG_STATE with the state that it is in: who comes second learns what the first did."""
    state = grant.state_at(now)
    if state != wanted:
        name = State.Name(state).removeprefix("GRANT_STATE_")
        raise wrong_state(f"The grant is {name.lower()} already.", name)


def activated(grant: Grant, now: datetime) -> Grant:
    """The grant as it is once the last approval is there: its time counts from the start asked for or from now, what is later."""
    begins = max(now, grant.start_at) if grant.start_at is not None else now
    return replace(grant, state=APPROVED, valid_from=begins, expires_at=begins + grant.duration)


def _not_active(state: str) -> KeptError:
    return KeptError(Reason.REASON_GRANT_NOT_ACTIVE, "The grant is not in force.", metadata={"state": state})


def require_in_force(grant: Grant, now: datetime) -> None:
    """Raises GRANT_REVOKED, GRANT_EXPIRED or GRANT_NOT_ACTIVE unless the grant is approved and this is its time."""
    state = grant.state_at(now)
    if state == REVOKED:
        raise KeptError(Reason.REASON_GRANT_REVOKED, "The grant was revoked.")
    if state == EXPIRED:
        raise KeptError(Reason.REASON_GRANT_EXPIRED, "The grant's time is over; request a new one.")
    if state != APPROVED:
        raise _not_active(State.Name(state).removeprefix("GRANT_STATE_"))
    if grant.valid_from is None or now < grant.valid_from:
        raise _not_active("NOT_BEGUN")


def require_usable(
    grant: Grant, holder: Person, approvals: Approvals, customer_required: bool, now: datetime
) -> None:
    """Whether the grant is worth anything at this instant: in its time, with a holder and approvers who still could hold and approve it.

    Raises what `require_in_force` raises, NOT_AUTHORIZED, GRANT_REVOKED or CUSTOMER_APPROVAL_REQUIRED.
    """
    require_in_force(grant, now)
    require_requester(grant, holder, now)
    if approvals.staff < grant.staff_approvals_needed:
        raise KeptError(Reason.REASON_GRANT_REVOKED, "Who approved the grant could not approve it any more.")
    if customer_required and not approvals.customer:
        raise KeptError(
            Reason.REASON_CUSTOMER_APPROVAL_REQUIRED,
            "The organization approves each access itself and has not approved this one.",
        )


def outside_scope() -> KeptError:
    """The same for what is not covered, what is gone and what never was."""
    return KeptError(Reason.REASON_OUTSIDE_SCOPE, "A record is not covered by the grant, or does not exist.")


def require_detail(scope: DataScope, organization_id: str, detail: "grants_pb2.Detail.ValueType") -> None:
    """Raises OUTSIDE_SCOPE for another organization, DETAIL_NOT_GRANTED for more than the grant gives."""
    if scope.organization_id != organization_id:
        raise outside_scope()
    if detail > scope.detail:
        raise KeptError(
            Reason.REASON_DETAIL_NOT_GRANTED,
            "The grant does not give that much detail.",
            metadata={"detail": Detail.Name(scope.detail).removeprefix("DETAIL_")},
        )


def created_at(record_id: bytes) -> datetime:
    """When a record was created, by its id. Raises OUTSIDE_SCOPE for what no record's id can be."""
    if not is_record_id(record_id):
        raise outside_scope()
    try:
        return record_time(record_id)
    except OverflowError as error:  # past the year 9999
        raise outside_scope() from error


def require_covers(scope: DataScope, record_ids: Collection[bytes]) -> None:
    """Raises OUTSIDE_SCOPE unless each of the records lies in the span and, where there is a list, in the list."""
    for record_id in record_ids:
        created = created_at(record_id)
        if (
            (scope.start is not None and created < scope.start)
            or (scope.until is not None and created >= scope.until)
            or (scope.record_ids and record_id not in scope.record_ids)
        ):
            raise outside_scope()


def budget_exhausted(scope: DataScope) -> KeptError:
    """More different records than the grant gives."""
    return KeptError(
        Reason.REASON_BUDGET_EXHAUSTED,
        "The grant's budget of records is used up.",
        metadata={"budget": str(scope.budget)},
    )


def rests_on_role(
    grant: Grant, person_id: str, role: "roles_pb2.StaffRole.ValueType", remaining: Roles
) -> bool:
    """Whether a grant that the person holds or approved falls with this role of theirs, `remaining` being what is left."""
    roles = grant.requester_roles if grant.requested_by == person_id else grant.approver_roles
    return role in roles and not roles & remaining

"""A grant, from request to end: its states, and what time does to it.

Every function is a function of its arguments; what a rule needs to know is passed in. Who asks why gets one reason: the first thing that
is wrong, in an order that gives nothing away to somebody whose grant it is not. What it covers: `scope`; who decides: `approval`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.scope import Case, DataScope, case_not_open, require_span
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, wrong_state
from shared.ids import are_record_ids

# An undecided request lapses after this long.
TIME_TO_DECIDE: Final = timedelta(hours=24)
# How far ahead a grant may be asked to start.
FARTHEST_START: Final = timedelta(days=30)
# A customer's own export is short, and may be of all that is there: at a thousand records a second, an hour is 3.6 million.
LONGEST_OWN_EXPORT: Final = timedelta(hours=1)
MOST_RECORDS: Final = 100_000
Purpose = grants_pb2.Purpose
State = grants_pb2.GrantState
REQUESTED: Final = grants_pb2.GRANT_STATE_REQUESTED
APPROVED: Final = grants_pb2.GRANT_STATE_APPROVED
DENIED: Final = grants_pb2.GRANT_STATE_DENIED
CANCELLED: Final = grants_pb2.GRANT_STATE_CANCELLED
REVOKED: Final = grants_pb2.GRANT_STATE_REVOKED
EXPIRED: Final = grants_pb2.GRANT_STATE_EXPIRED
_FINAL: Final = frozenset({DENIED, CANCELLED, REVOKED, EXPIRED})


@dataclass(frozen=True)
class Vote:
    """One person's approval. round: 0 for the grant itself, then one more for each extension that was approved."""

    approved_by: str
    approved_at: datetime
    by_customer: bool
    round: int = 0


@dataclass(frozen=True)
class Extension:
    """More time that somebody asked for and that is not decided."""

    duration: timedelta
    reason: str
    requested_at: datetime


@dataclass(frozen=True)
class BrokenGlass:
    """That nobody approved beforehand, and what somebody else says of it. reviewed_by: empty until then."""

    review_due_at: datetime
    verdict: "grants_pb2.BreakGlassVerdict.ValueType" = grants_pb2.BREAK_GLASS_VERDICT_UNSPECIFIED
    reviewed_by: str = ""
    reviewed_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True)
class Grant:
    """A grant, from request to end: of data, or (where `data` is None) of a power. `state` is the stored one; see `state_at`.

    asked: what was asked for, scope and time, where an approver granted less. round: the votes that it rests on. rules: ids of the
    policies that approved it where no person had to.
    """

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
    asked: tuple[DataScope | None, timedelta] | None = None
    round: int = 0
    extension: Extension | None = None
    rules: tuple[str, ...] = ()
    broken_glass: BrokenGlass | None = None

    @property
    def votes_in_force(self) -> tuple[Vote, ...]:
        """The approvals that it rests on, or waits for more of."""
        return tuple(vote for vote in self.votes if vote.round == self.round)

    @property
    def next_round(self) -> "Grant":
        """The grant as those see it who decide on its extension: with their votes."""
        return replace(self, round=self.round + 1, rules=())

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
    def is_customers_own(self) -> bool:
        """Whether an admin of the organization holds it, to take the organization's own records along."""
        return self.purpose == grants_pb2.PURPOSE_CUSTOMER_EXPORT

    @property
    def staff_approvals_needed(self) -> int:
        """Two for a person who is to see everything of an organization in full; none where a policy approved it, or afterwards somebody
        looks at it; one otherwise. In a customer's own export another admin takes the place of the one."""
        if self.rules or self.broken_glass is not None:
            return 0
        if self.is_customers_own:
            return 1
        data = self.data
        sees_everything = data is not None and data.is_everything and not data.is_for_service
        return 2 if data is not None and sees_everything and data.detail == grants_pb2.DETAIL_FULL else 1


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
    require_span(data)
    if not are_record_ids(data.record_ids):
        raise invalid("data.record_ids", "are not all laid out as UUIDv7")
    if grant.is_customers_own:
        _require_sound_export(grant, data)
    elif data.budget > MOST_RECORDS:
        raise invalid("data.budget", f"is more than {MOST_RECORDS}")
    if data.is_for_service:
        _require_sound_for_service(grant, data)
    if data.case_id:
        if grant.purpose != grants_pb2.PURPOSE_SAFETY_AND_SECURITY:
            raise invalid("purpose", "must be safety and security for a case")
        if case is None or case.organization_id != data.organization_id or case.state == "closed":
            raise case_not_open()


def _require_sound_export(grant: Grant, data: DataScope) -> None:
    if data.is_for_service or data.case_id:
        raise invalid("data", "must be for no case, and no service, where a customer exports its own")
    if grant.duration > LONGEST_OWN_EXPORT:
        raise invalid("duration", "is more than an hour, where a customer exports its own")


def _require_sound_for_service(grant: Grant, data: DataScope) -> None:
    if grant.purpose != grants_pb2.PURPOSE_SAFETY_AND_SECURITY:
        raise invalid("purpose", "must be safety and security where a service reads")
    if data.permission == grants_pb2.SERVICE_PERMISSION_EVALUATION:
        if data.detail != grants_pb2.DETAIL_MASKED or not data.case_id:
            raise invalid("data", "must be masked, and for a case, where it is for an evaluation set")
    elif data.detail != grants_pb2.DETAIL_FULL or data.case_id:
        raise invalid("data", "must be in full, and for no case, where a service screens it")


def require_state(grant: Grant, wanted: "grants_pb2.GrantState.ValueType", now: datetime) -> None:
    """Raises WRONG_STATE with the state that it is in: who comes second learns what the first did."""
    state = grant.state_at(now)
    if state != wanted:
        name = short_name(State, state)
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
        raise _not_active(short_name(State, state))
    if grant.valid_from is None or now < grant.valid_from:
        raise _not_active("NOT_BEGUN")

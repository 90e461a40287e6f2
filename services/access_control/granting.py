"""What people do with grants: ask, approve, deny, take back, revoke. Each act is one transaction under the grant's row lock, with its audit
entry in it; who comes second finds the state that the first one made."""

import hashlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.authorization import (
    Authorization,
    grant_entity,
    member_entity,
    person_entity,
    what,
)
from services.access_control.custody import Custody
from services.access_control.decision_log import DecisionLog, Question
from services.access_control.grants import (
    APPROVED,
    CANCELLED,
    DENIED,
    POWER_APPROVERS,
    PURPOSE_APPROVERS,
    REQUESTED,
    REVOKED,
    TIME_TO_DECIDE,
    Approvals,
    Case,
    DataScope,
    Grant,
    Vote,
    activated,
    case_not_open,
    counted,
    may_decide,
    may_see,
    require_approver,
    require_requester,
    require_sound,
    require_state,
)
from services.access_control.people import Member, Person
from services.access_control.policies_replica import Policies
from services.access_control.store import Connection, directory
from services.access_control.store import cases as case_store
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.identity import Caller
from shared.ids import new_id

_REFUSED = "grant.refused"


@dataclass(frozen=True)
class Asked:
    """A request as it came. digest: of everything in it, so that a reused request id shows."""

    request_id: str
    data: DataScope | None
    power: "roles_pb2.Power.ValueType"
    purpose: "grants_pb2.Purpose.ValueType"
    reason: str
    ticket: str
    duration: timedelta
    start_at: datetime | None
    content: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the request."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True)
class View:
    """A grant as it is shown: at an instant, with what it still waits for."""

    grant: Grant
    state: "grants_pb2.GrantState.ValueType"
    missing_staff: int
    missing_customer: bool


class CustomerApproval:
    """Whether an organization wants to approve each access itself."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def required(self, tx: Connection, organization_id: str) -> bool:
        """By the policy in force now. Raises LEASE_LAPSED, UNKNOWN_ORGANIZATION. Of an organization that is closed and has no admin any
        more nobody could ask: what a hold keeps of it is for staff to decide."""
        policy = self._policies.of(organization_id)
        if not policy.require_customer_approval:
            return False
        return not policy.closed or bool(directory.admins(tx, organization_id))


def end_grants(
    tx: Connection, decisions: DecisionLog, grants: Iterable[Grant], actor: str, why: str, now: datetime
) -> int:
    """Revokes grants in the caller's transaction, which has locked them; those that are over already stay as they are. Returns how many."""
    ended = 0
    for grant in grants:
        if not grant.is_over(now):
            store.set_state(tx, replace(grant, state=REVOKED, ended_at=now))
            _written(tx, decisions, "grant.revoked", grant, actor, {"why": why})
            ended += 1
    return ended


def _written(
    tx: Connection,
    decisions: DecisionLog,
    kind: str,
    grant: Grant,
    actor: str,
    facts: dict[str, str | int | bool],
) -> None:
    decisions.write(
        tx,
        kind,
        actor,
        organization_id=grant.organization_id,
        subjects=[grant.grant_id],
        facts={"what": what(grant), "requester": grant.requested_by, **facts},
    )


def _request_facts(grant: Grant) -> dict[str, str | int | bool]:
    facts: dict[str, str | int | bool] = {
        "reason": grant.reason,
        "ticket": grant.ticket,
        "duration_seconds": int(grant.duration.total_seconds()),
    }
    if grant.start_at is not None:
        facts["start_at"] = grant.start_at.isoformat()
    data = grant.data
    if data is not None:
        facts["detail"] = grants_pb2.Detail.Name(data.detail).removeprefix("DETAIL_")
        facts["budget"] = data.budget
        facts["records"] = len(data.record_ids)
        facts["covers_from"] = data.start.isoformat() if data.start else ""
        facts["covers_until"] = data.until.isoformat() if data.until else ""
        facts["case_id"] = data.case_id
    return facts


class Granting:
    """The acts."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        custody: Custody,
        authorization: Authorization,
        decisions: DecisionLog,
        customer_approval: CustomerApproval,
    ) -> None:
        self._database = database
        self._clock = clock
        self._custody = custody
        self._authorization = authorization
        self._decisions = decisions
        self._customer_approval = customer_approval

    def request(self, person_id: str, asked: Asked) -> View:
        """Asks for a grant. Raises NOT_AUTHORIZED, INVALID_ARGUMENT, CASE_NOT_OPEN, UNKNOWN_ORGANIZATION, REQUEST_ID_REUSED."""
        organization_id = asked.data.organization_id if asked.data is not None else ""
        question = Question(person_id, organization_id, facts={"act": "request"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            now = self._clock.now()
            # Locked, so that a role that ends meanwhile ends this request too.
            person = directory.person(tx, person_id, "share")
            if person is None:
                raise not_found("person")
            before = self._before(tx, person_id, asked)
            if before is not None:
                return self._view(tx, before)
            grant = Grant(
                grant_id=new_id("grant"),
                requested_by=person_id,
                request_id=asked.request_id,
                data=asked.data,
                power=asked.power,
                purpose=asked.purpose,
                reason=asked.reason,
                ticket=asked.ticket,
                state=REQUESTED,
                requested_at=now,
                request_expires_at=now + TIME_TO_DECIDE,
                duration=asked.duration,
                start_at=asked.start_at,
            )
            self._require_askable(tx, grant, person, now)
            if not store.add_request(tx, grant, asked.digest):
                before = self._before(tx, person_id, asked)
                assert before is not None
                return self._view(tx, before)
            _written(tx, self._decisions, "grant.requested", grant, person_id, _request_facts(grant))
            return self._view(tx, grant)

    def _before(self, tx: Connection, person_id: str, asked: Asked) -> Grant | None:
        found = store.by_request(tx, person_id, asked.request_id)
        if found is None:
            return None
        if found[1] != asked.digest:
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED,
                "This request id was used for another request; use a new one.",
            )
        return found[0]

    def _require_askable(self, tx: Connection, grant: Grant, person: Person, now: datetime) -> None:
        data = grant.data
        case = case_store.case(tx, data.case_id, lock=True) if data is not None and data.case_id else None
        require_sound(grant, case, now)
        require_requester(grant, person, now)
        if data is not None:
            self._customer_approval.required(tx, data.organization_id)  # known at all?
            if case is not None:
                self._require_case_records(tx, data, case)
        self._authorization.require(
            person_entity(person, now), "RequestGrant", grant_entity(grant, Approvals(0, False), now)
        )

    def _require_case_records(self, tx: Connection, data: DataScope, case: Case) -> None:
        records = case_store.records_of_case(tx, case.case_id)
        if not data.record_ids <= records:
            raise case_not_open()
        # An upheld case admits grants while its hold stands.
        if case.state == "upheld" and not self._custody.retained(tx, data.organization_id, records):
            raise case_not_open()

    def approve(self, caller: Caller, grant_id: str) -> View:
        """Adds the caller's approval, and activates the grant if it was the last one that was missing."""
        with self._deciding(caller, grant_id, "approve"), self._database.transaction() as tx:
            grant, decider = self._decided_by(tx, caller, grant_id)
            now = self._clock.now()
            if grant.state_at(now) == REQUESTED and any(v.approved_by == caller.actor for v in grant.votes):
                return self._view(tx, grant)
            require_state(grant, REQUESTED, now)
            decision = self._authorization.require(
                member_entity(decider) if isinstance(decider, Member) else person_entity(decider, now),
                "ApproveGrant",
                grant_entity(grant, Approvals(0, False), now),
            )
            vote = Vote(caller.actor, now, caller.is_customer)
            store.add_vote(tx, grant_id, vote)
            grant = replace(grant, votes=(*grant.votes, vote))
            # Who approved before may have lost the right since: it is asked of all of them, now.
            if approvals_of(tx, grant, now).suffice(grant, self._required(tx, grant)):
                grant = activated(grant, now)
                store.set_state(tx, grant)
            facts: dict[str, str | int | bool] = {"activated": grant.state == APPROVED, **decision.facts}
            if grant.valid_from is not None and grant.expires_at is not None:
                facts["valid_from"] = grant.valid_from.isoformat()
                facts["expires_at"] = grant.expires_at.isoformat()
            _written(tx, self._decisions, "grant.approved", grant, caller.actor, facts)
            return self._view(tx, grant)

    def deny(self, caller: Caller, grant_id: str, reason: str) -> View:
        """Ends a request. Raises SECOND_PERSON_REQUIRED, NOT_AUTHORIZED, NOT_FOUND, WRONG_STATE."""
        with self._deciding(caller, grant_id, "deny"), self._database.transaction() as tx:
            grant, _ = self._decided_by(tx, caller, grant_id)
            return self._end(tx, grant, caller, REQUESTED, DENIED, "grant.denied", {"why": reason})

    def cancel(self, caller: Caller, grant_id: str) -> View:
        """Takes one's own request back. Raises NOT_FOUND, WRONG_STATE."""
        with self._deciding(caller, grant_id, "cancel"), self._database.transaction() as tx:
            grant = store.load(tx, grant_id, lock=True)
            if grant is None or grant.requested_by != caller.person_id:
                raise not_found("grant")
            return self._end(tx, grant, caller, REQUESTED, CANCELLED, "grant.cancelled", {})

    def revoke(self, caller: Caller, grant_id: str, reason: str) -> View:
        """Ends an approved grant: one's own, or one that the caller could decide. Raises NOT_FOUND, WRONG_STATE."""
        with self._deciding(caller, grant_id, "revoke"), self._database.transaction() as tx:
            viewer = self._viewer(tx, caller, "share")
            grant = store.load(tx, grant_id, lock=True)
            if grant is None or not may_see(grant, viewer, self._clock.now()):
                raise not_found("grant")
            return self._end(tx, grant, caller, APPROVED, REVOKED, "grant.revoked", {"why": reason})

    def _end(
        self,
        tx: Connection,
        grant: Grant,
        caller: Caller,
        wanted: "grants_pb2.GrantState.ValueType",
        state: "grants_pb2.GrantState.ValueType",
        kind: str,
        facts: dict[str, str | int | bool],
    ) -> View:
        now = self._clock.now()
        require_state(grant, wanted, now)
        grant = replace(grant, state=state, ended_at=now)
        store.set_state(tx, grant)
        _written(tx, self._decisions, kind, grant, caller.actor, facts)
        return self._view(tx, grant)

    def get(self, caller: Caller, grant_id: str) -> View:
        """One grant that the caller may see. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            viewer = self._viewer(tx, caller)
            grant = store.load(tx, grant_id)
            if grant is None or not may_see(grant, viewer, self._clock.now()):
                raise not_found("grant")
            return self._view(tx, grant)

    def list(
        self, caller: Caller, *, state: int, organization_id: str, before: int | None, limit: int
    ) -> list[tuple[int, View]]:
        """What `get` would show, newest first, each with its number, before that number."""
        with self._database.transaction() as tx:
            now = self._clock.now()
            viewer = self._viewer(tx, caller)
            if isinstance(viewer, Member):
                visible = store.Visible(organization_id=viewer.organization_id if viewer.is_admin else "")
            else:
                roles = viewer.roles_at(now)
                visible = store.Visible(
                    person_id=viewer.person_id,
                    purposes=frozenset(p for p, approvers in PURPOSE_APPROVERS.items() if approvers & roles),
                    powers=frozenset(p for p, approvers in POWER_APPROVERS.items() if approvers & roles),
                )
            found = store.list_visible(
                tx, visible, now, state=state, organization_id=organization_id, before=before, limit=limit
            )
            return [(number, self._view(tx, grant)) for number, grant in found]

    def _deciding(self, caller: Caller, grant_id: str, act: str) -> AbstractContextManager[None]:
        question = Question(caller.actor, caller.organization_id, (grant_id,), {"act": act})
        return self._decisions.deciding(_REFUSED, question)

    def _viewer(self, tx: Connection, caller: Caller, lock: directory.Lock | None = None) -> Person | Member:
        # Locked by who decides: the right to decide stays until the decision is made, and who takes it away then finds the decision.
        if caller.is_customer:
            member = directory.member(tx, caller.member_id, lock)
            if member is not None:
                return member
        else:
            person = directory.person(tx, caller.person_id, lock)
            if person is not None:
                return person
        raise not_found("person")

    def _decided_by(self, tx: Connection, caller: Caller, grant_id: str) -> tuple[Grant, Person | Member]:
        """The grant, locked, and its decider, who may decide it."""
        decider = self._viewer(tx, caller, "share")
        grant = store.load(tx, grant_id, lock=True)
        now = self._clock.now()
        if grant is None or (isinstance(decider, Member) and not may_decide(grant, decider, now)):
            raise not_found("grant")
        if isinstance(decider, Person):
            require_approver(grant, decider, now)
        return grant, decider

    def _required(self, tx: Connection, grant: Grant) -> bool:
        return grant.data is not None and self._customer_approval.required(tx, grant.organization_id)

    def _view(self, tx: Connection, grant: Grant) -> View:
        now = self._clock.now()
        state = grant.state_at(now)
        if state != REQUESTED:
            return View(grant, state, 0, False)
        approvals = approvals_of(tx, grant, now)
        missing = max(0, grant.staff_approvals_needed - approvals.staff)
        return View(grant, state, missing, not approvals.customer and self._required(tx, grant))


def approvals_of(tx: Connection, grant: Grant, now: datetime) -> Approvals:
    """The approvals that count now."""
    people = directory.people_by_id(tx, [vote.approved_by for vote in grant.votes if not vote.by_customer])
    members = directory.members_by_id(tx, [vote.approved_by for vote in grant.votes if vote.by_customer])
    return counted(grant, people, members, now)

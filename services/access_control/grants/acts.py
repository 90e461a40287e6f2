"""What every act on a grant is made of: who acts, the grant under its row lock, the audit entry in the act's transaction, and what is shown
of the grant after it."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from kept.access_control.v1 import grants_pb2
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.authorization.policy import permission_name, what
from services.access_control.grants import extension
from services.access_control.grants.approval import Approvals, counted, may_see, require_approver
from services.access_control.grants.customer_approval import CustomerApproval
from services.access_control.grants.grant import APPROVED, REQUESTED, REVOKED, Grant
from services.access_control.notifications import EVENTS, of_grant
from services.access_control.people.person import Member, Person
from services.access_control.store import Connection, directory, grant_changes
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.enums import short_name
from shared.errors import not_found
from shared.identity import Caller

Facts = Mapping[str, str | int | bool]


@dataclass(frozen=True)
class View:
    """A grant as it is shown: at an instant, with what it (or its extension) still waits for."""

    grant: Grant
    state: "grants_pb2.GrantState.ValueType"
    missing_staff: int
    missing_customer: bool


def approvals_of(
    tx: Connection, grant: Grant, now: datetime, people: Mapping[str, Person] | None = None
) -> Approvals:
    """The approvals that count now. people: whoever of the workforce approved, where they were read already."""
    votes = grant.votes_in_force
    if people is None:
        people = directory.people_by_id(tx, approvers_of(grant))
    members = directory.members_by_id(tx, [vote.approved_by for vote in votes if vote.by_customer])
    return counted(grant, people, members, now)


def approvers_of(grant: Grant) -> set[str]:
    """Who of the workforce approved."""
    return {vote.approved_by for vote in grant.votes_in_force if not vote.by_customer}


def end_grants(
    tx: Connection, decisions: DecisionLog, grants: Iterable[Grant], actor: str, why: str, now: datetime
) -> int:
    """Revokes grants in the caller's transaction, which has locked them; those that are over already stay as they are. Returns how many."""
    ended = 0
    for grant in grants:
        if not grant.is_over(now):
            grant = replace(grant, state=REVOKED, ended_at=now)
            grant_changes.set_state(tx, grant)
            written(tx, decisions, "grant.revoked", grant, actor, {"why": why})
            ended += 1
    return ended


def deny_extension(
    tx: Connection, decisions: DecisionLog, grant: Grant, actor: str, why: str, now: datetime
) -> None:
    """Denies the extension that waits, in the caller's transaction, which has locked the grant; the grant goes on to its end."""
    if grant.state_at(now) == APPROVED and grant.extension is not None:
        grant = extension.dropped(grant)
        grant_changes.set_extension(tx, grant)
        written(tx, decisions, "grant.extension_denied", grant, actor, {"why": why})


def written(
    tx: Connection, decisions: DecisionLog, kind: str, grant: Grant, actor: str, facts: Facts
) -> None:
    """Writes an act down, and tells of it whom it concerns."""
    decisions.write(
        tx,
        kind,
        actor,
        organization_id=grant.organization_id,
        subjects=[grant.grant_id],
        facts={"what": what(grant), "requester": grant.requested_by, **facts},
    )
    if kind in EVENTS:
        decisions.tell(tx, kind, of_grant(grant, actor))


def scope_facts(grant: Grant) -> dict[str, str | int | bool]:
    """What a grant covers, for the audit log: amounts and instants, no list of records, and no case, of which the customer is not told."""
    facts: dict[str, str | int | bool] = {"duration_seconds": int(grant.duration.total_seconds())}
    data = grant.data
    if data is not None:
        facts["detail"] = short_name(grants_pb2.Detail, data.detail)
        facts["budget"] = data.budget
        facts["records"] = len(data.record_ids)
        facts["covers_from"] = data.start.isoformat() if data.start else ""
        facts["covers_until"] = data.until.isoformat() if data.until else ""
        facts["permission"] = permission_name(data)
    return facts


class GrantActs:
    """The frame that all acts on grants share."""

    def __init__(self, clock: Clock, decisions: DecisionLog, customer_approval: CustomerApproval) -> None:
        self._clock = clock
        self._decisions = decisions
        self._customer_approval = customer_approval

    def deciding(self, caller: Caller, grant_id: str, act: str) -> AbstractContextManager[None]:
        """Around an act's transaction: what is refused in it is in the audit log before the refusal goes on."""
        question = Question(caller.actor, caller.organization_id, (grant_id,), {"act": act})
        return self._decisions.deciding("grant.refused", question)

    def viewer(self, tx: Connection, caller: Caller, lock: directory.Lock | None = None) -> Person | Member:
        """Who calls. lock: the right to decide stays until the decision is made, and who takes it away then finds the decision. Raises
        NOT_FOUND."""
        if caller.is_customer:
            member = directory.member(tx, caller.member_id, lock)
            if member is not None:
                return member
        else:
            person = directory.person(tx, caller.person_id, lock)
            if person is not None:
                return person
        raise not_found("person")

    def own(self, tx: Connection, caller: Caller, grant_id: str) -> Grant:
        """One's own grant, locked. Raises NOT_FOUND for another's."""
        grant = store.load(tx, grant_id, lock=True)
        if grant is None or grant.requested_by != caller.actor:
            raise not_found("grant")
        return grant

    def other_admins(self, tx: Connection, grant: Grant) -> int:
        """How many admins the organization has beside who asked."""
        admins = directory.admins(tx, grant.organization_id)
        return sum(admin.member_id != grant.requested_by for admin in admins)

    def decided_by(self, tx: Connection, caller: Caller, grant_id: str) -> tuple[Grant, Person | Member]:
        """The grant, locked, and its decider, who may decide it. Raises NOT_FOUND, also for one that is nothing to them: who cannot see it
        is not told that it is there. Raises SECOND_PERSON_REQUIRED for one's own, CUSTOMER_DECIDES."""
        decider = self.viewer(tx, caller, "share")
        grant = store.load(tx, grant_id, lock=True)
        now = self._clock.now()
        if grant is None or not may_see(grant, decider, now):
            raise not_found("grant")
        others = self.other_admins(tx, grant) if grant.is_customers_own else 0
        require_approver(grant, decider, now, others)
        return grant, decider

    def seen_by(self, tx: Connection, caller: Caller, grant_id: str, *, lock: bool = False) -> Grant:
        """A grant that the caller may see. Raises NOT_FOUND."""
        viewer = self.viewer(tx, caller, "share" if lock else None)
        grant = store.load(tx, grant_id, lock=lock)
        if grant is None or not may_see(grant, viewer, self._clock.now()):
            raise not_found("grant")
        return grant

    def write(self, tx: Connection, kind: str, grant: Grant, actor: str, facts: Facts) -> None:
        """Writes an act down, and tells of it whom it concerns."""
        written(tx, self._decisions, kind, grant, actor, facts)

    def suffices(self, tx: Connection, grant: Grant, now: datetime) -> bool:
        """Whether every approval that the grant needs is there and counts now: who approved before may have lost the right since."""
        customer_required = self._customer_approval.required(tx, grant)
        return approvals_of(tx, grant, now).suffice(grant, customer_required)

    def view(self, tx: Connection, grant: Grant) -> View:
        """The grant as it is shown now."""
        now = self._clock.now()
        state = grant.state_at(now)
        asked = grant if state == REQUESTED else None
        if state == APPROVED and grant.extension is not None:
            asked = grant.next_round
        if asked is None:
            return View(grant, state, 0, False)
        approvals = approvals_of(tx, asked, now)
        if asked.is_customers_own:
            missing = not approvals.suffice(asked, False)
            by_customer = missing and self.other_admins(tx, asked) > 0
            return View(grant, state, int(missing and not by_customer), by_customer)
        return View(
            grant,
            state,
            max(0, asked.staff_approvals_needed - approvals.staff),
            not approvals.customer and self._customer_approval.required(tx, grant),
        )

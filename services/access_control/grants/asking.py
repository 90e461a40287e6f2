"""Asking for a grant: by request, which others decide or a policy does at once, or by breaking the glass. One transaction; asked again
under the same request id, it is the same grant."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.authorization.policy import Authorization, grant_entity, principal_entity
from services.access_control.custody import Custody
from services.access_control.grants import break_glass
from services.access_control.grants.acts import Facts, GrantActs, View, scope_facts
from services.access_control.grants.approval import Approvals, require_requester
from services.access_control.grants.customer_approval import CustomerApproval
from services.access_control.grants.grant import (
    REQUESTED,
    TIME_TO_DECIDE,
    BrokenGlass,
    Grant,
    activated,
    require_sound,
)
from services.access_control.grants.scope import Case, DataScope, case_not_open
from services.access_control.notifications import of_grant
from services.access_control.people.person import Member, Person
from services.access_control.store import Connection, grant_changes
from services.access_control.store import cases as case_store
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller
from shared.ids import new_id


@dataclass(frozen=True)
class Asked:
    """A request as it came. breaks_glass: not to wait for anybody. digest: of everything in it, so that a reused request id shows."""

    request_id: str
    data: DataScope | None
    power: "roles_pb2.Power.ValueType"
    purpose: "grants_pb2.Purpose.ValueType"
    reason: str
    ticket: str
    duration: timedelta
    start_at: datetime | None
    content: bytes
    breaks_glass: bool = False

    @property
    def digest(self) -> bytes:
        """SHA-256 of the request."""
        return hashlib.sha256(self.content).digest()


class Asking:
    """The act."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        custody: Custody,
        authorization: Authorization,
        decisions: DecisionLog,
        customer_approval: CustomerApproval,
        acts: GrantActs,
    ) -> None:
        self._database = database
        self._clock = clock
        self._custody = custody
        self._authorization = authorization
        self._decisions = decisions
        self._customer_approval = customer_approval
        self._acts = acts

    def ask(self, caller: Caller, asked: Asked) -> View:
        """Asks for a grant, or takes it. Raises NOT_AUTHORIZED, INVALID_ARGUMENT, CASE_NOT_OPEN, UNKNOWN_ORGANIZATION, REQUEST_ID_REUSED,
        BREAK_GLASS_UNREVIEWED, CUSTOMER_APPROVAL_REQUIRED, and WRONG_ORGANIZATION of a customer."""
        organization_id = asked.data.organization_id if asked.data is not None else ""
        act = "break_glass" if asked.breaks_glass else "request"
        # What a customer is refused is the own organization's matter, whatever it names.
        question = Question(caller.actor, caller.organization_id or organization_id, facts={"act": act})
        with self._decisions.deciding("grant.refused", question), self._database.transaction() as tx:
            now = self._clock.now()
            if organization_id:
                caller.require_organization(organization_id)
            # Locked, so that a role that ends meanwhile ends this request too.
            requester = self._acts.viewer(tx, caller, "share")
            before = self._before(tx, caller.actor, asked)
            if before is not None:
                return self._acts.view(tx, before)
            grant = _requested(caller.actor, asked, now)
            customer_required = self._customer_approval.required(tx, grant)
            facts = self._require_askable(tx, grant, requester, customer_required, now)
            if not store.add_request(tx, grant, asked.digest):
                before = self._before(tx, caller.actor, asked)
                assert before is not None
                return self._acts.view(tx, before)
            self._acts.write(
                tx,
                "break_glass.used" if asked.breaks_glass else "grant.requested",
                grant,
                caller.actor,
                {**_facts(grant), **facts},
            )
            self._write_case(tx, grant)
            return self._acts.view(tx, self._at_once(tx, grant, requester, customer_required, now))

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

    def _require_askable(
        self,
        tx: Connection,
        grant: Grant,
        requester: Person | Member,
        customer_required: bool,
        now: datetime,
    ) -> Facts:
        data = grant.data
        case = case_store.case(tx, data.case_id, lock=True) if data is not None and data.case_id else None
        require_sound(grant, case, now)
        require_requester(grant, requester, now)
        break_glass.require_reviewed(tx, grant.requested_by, now)
        if data is not None and case is not None:
            self._require_case_records(tx, data, case)
        who, what = principal_entity(requester, now), grant_entity(grant, Approvals(0, False), now)
        if grant.broken_glass is None:
            return self._authorization.require(who, "RequestGrant", what).facts
        break_glass.require_breakable(grant, customer_required)
        context = {"customer_required": customer_required}
        return self._authorization.require(who, "BreakGlass", what, context).facts

    def _require_case_records(self, tx: Connection, data: DataScope, case: Case) -> None:
        records = case_store.records_of_case(tx, case.case_id)
        if not data.record_ids <= records:
            raise case_not_open()
        # An upheld case admits grants while a hold, of whatever kind, keeps one of its records.
        if case.state == "upheld" and not self._custody.retained(tx, data.organization_id, records):
            raise case_not_open()

    def _write_case(self, tx: Connection, grant: Grant) -> None:
        """Which case it is for, among the vendor's own entries: the customer is not told that there is one."""
        if grant.data is not None and grant.data.case_id:
            subjects = [grant.data.case_id, grant.organization_id, grant.grant_id]
            self._decisions.write(tx, "case.named", grant.requested_by, subjects=subjects)

    def _at_once(
        self,
        tx: Connection,
        grant: Grant,
        requester: Person | Member,
        customer_required: bool,
        now: datetime,
    ) -> Grant:
        """The grant, active if it waits for nobody."""
        if grant.broken_glass is None:
            rule = None
            if isinstance(requester, Person):
                rule = self._authorization.approves_by_rule(grant, requester, customer_required, now)
            if rule is None:
                own = grant.is_customers_own and self._acts.other_admins(tx, grant) > 0
                if customer_required or own:
                    told = of_grant(grant, grant.requested_by)
                    self._decisions.tell(tx, "grant.customer_approval_needed", told)
                return grant
            grant = replace(grant, rules=rule.policies)
        grant = activated(grant, now)
        grant_changes.set_state(tx, grant)
        if grant.rules:
            facts = {"rules": ",".join(grant.rules), **_times(grant)}
            self._acts.write(tx, "grant.approved", grant, "service:access_control", facts)
        return grant


def _requested(person_id: str, asked: Asked, now: datetime) -> Grant:
    return Grant(
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
        broken_glass=BrokenGlass(now + break_glass.REVIEW_WITHIN) if asked.breaks_glass else None,
    )


def _facts(grant: Grant) -> Facts:
    facts = {"reason": grant.reason, "ticket": grant.ticket, **scope_facts(grant)}
    if grant.start_at is not None:
        facts["start_at"] = grant.start_at.isoformat()
    return facts


def _times(grant: Grant) -> dict[str, str]:
    assert grant.valid_from is not None
    assert grant.expires_at is not None
    return {"valid_from": grant.valid_from.isoformat(), "expires_at": grant.expires_at.isoformat()}

"""Opening records: the decision, the count, the line in the audit log, and only then the keys. One transaction; nothing is answered if it
cannot be committed."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from kept.access_control.v1 import grants_pb2
from kept.policies import Entity
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.authorization.policy import (
    Authorization,
    Decision,
    grant_entity,
    milliseconds,
    organization_entity,
    principal_entity,
    service_entity,
    what,
)
from services.access_control.custody import Custody
from services.access_control.grants.acts import approvals_of
from services.access_control.grants.approval import require_usable
from services.access_control.grants.customer_approval import CustomerApproval
from services.access_control.grants.grant import Grant, require_in_force
from services.access_control.grants.readers import Readers, grant_required, held, shows_held
from services.access_control.grants.scope import (
    DataScope,
    budget_exhausted,
    case_not_open,
    created_at,
    not_upheld,
    outside_scope,
    require_covers,
    require_detail,
    span_of,
)
from services.access_control.people.person import Member, Person
from services.access_control.people.tokens import Tokens
from services.access_control.store import Connection, directory, opened_records
from services.access_control.store import cases as case_store
from services.access_control.store import grants as store
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid
from shared.ids import derived_id, record_day, record_days
from shared.rules import Rules
from shared.terms import lot_of

_DENIED: Final = "access.denied"
_EVALUATION: Final = grants_pb2.SERVICE_PERMISSION_EVALUATION
# What a service does under a grant that people approved for its permission.
_ACTIONS: Final[Mapping["grants_pb2.ServicePermission.ValueType", str]] = {
    grants_pb2.SERVICE_PERMISSION_SCREENING: "RescreenRecords",
    _EVALUATION: "EvaluateRecords",
}
Detail = grants_pb2.Detail


@dataclass(frozen=True)
class Wanted:
    """Records that somebody wants opened. records: (record id, data key id; empty where there is no content). sealed: data keys by id.
    applications: to whose own epochs data keys are sealed, by id. without_keys: by whose own terms records live whose data keys are not
    here, by record id: their content is not asked for, and this much is logging's word. leave_out_gone: under a grant, whether what is due
    is left out, and that of which the key is gone opened without it; else both have all refused."""

    organization_id: str
    detail: "grants_pb2.Detail.ValueType"
    records: Sequence[tuple[bytes, bytes]]
    sealed: Mapping[bytes, bytes]
    applications: Mapping[bytes, str] = field(default_factory=dict)
    without_keys: Mapping[bytes, str] = field(default_factory=dict)
    leave_out_gone: bool = False

    def without(self, record_ids: Collection[bytes]) -> "Wanted":
        """All but these."""
        if not record_ids:
            return self
        return replace(self, records=[record for record in self.records if record[0] not in record_ids])

    @cached_property
    def record_ids(self) -> list[bytes]:
        """The records, in order of id."""
        return sorted(record_id for record_id, _ in self.records)

    @cached_property
    def lots(self) -> dict[str, list[bytes]]:
        """The records by whose rule counts for them (shared.terms). One whose data key is here is of the lot to whose epoch that is sealed:
        with no other does it open."""
        if not self.applications and not self.without_keys:  # as nearly always
            return {self.organization_id: self.record_ids}
        lots: dict[str, list[bytes]] = {}
        for record_id, data_key_id in self.records:
            named = self.applications if data_key_id in self.sealed else self.without_keys
            application = named.get(data_key_id if named is self.applications else record_id, "")
            lots.setdefault(lot_of(self.organization_id, application), []).append(record_id)
        return lots

    @property
    def shows_content(self) -> bool:
        """Whether keys are wanted at all."""
        return self.detail != grants_pb2.DETAIL_METADATA


@dataclass(frozen=True)
class Opened:
    """keys: by record id, for records with content, empty for METADATA. left_out: records that are gone."""

    keys: Mapping[bytes, bytes] = field(repr=False)
    audit_entry_id: str
    left_out: Collection[bytes] = ()


@dataclass(frozen=True)
class Authorized:
    """A read that may begin. reader: "person_…" or "member_…". scope: what may be looked up. held_too: whether what is due and only a hold
    keeps is shown."""

    reader: str
    scope: DataScope
    expires_at: datetime
    remaining: int
    audit_entry_id: str
    held_too: bool


def _counts(wanted: Wanted, gone: Collection[bytes]) -> dict[str, int]:
    """How many records were opened and, where some are, left out: as facts have it."""
    return {"records": len(wanted.records)} | ({"left_out": len(gone)} if gone else {})


def _named(permission: "grants_pb2.ServicePermission.ValueType") -> str:
    return short_name(grants_pb2.ServicePermission, permission).lower()


@contextmanager
def _within(scope: DataScope, counting: AbstractContextManager[Callable[[], int]]) -> Iterator[None]:
    """Raises BUDGET_EXHAUSTED at the end of the block when that many are more than the grant gives."""
    with counting as used:
        yield
        if used() > scope.budget:
            raise budget_exhausted(scope)


class Opening:
    """Decides on reads."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        custody: Custody,
        authorization: Authorization,
        decisions: DecisionLog,
        tokens: Tokens,
        customer_approval: CustomerApproval,
        rules: Rules,
    ) -> None:
        self._database = database
        self._clock = clock
        self._custody = custody
        self._authorization = authorization
        self._decisions = decisions
        self._tokens = tokens
        self._readers = Readers(tokens)
        self._customer_approval = customer_approval
        self._rules = rules

    def authorize(
        self,
        service: str,
        token: str,
        grant_id: str,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
    ) -> Authorized:
        """Before anything is looked up: may this person read under this grant? Written down either way.

        Raises UNAUTHENTICATED, NOT_AUTHORIZED, GRANT_REQUIRED and what a grant can be short of.
        """
        question = self._question(service, organization_id, grant_id, detail)
        with self._decisions.deciding(_DENIED, question):
            caller = self._tokens.verify(token, service)
            with self._database.transaction() as tx:
                holder = self._readers.reader(tx, caller, organization_id, question)
                grant = held(store.load(tx, grant_id) if grant_id else None, question.actor)
                scope, decision = self._decide(tx, grant, holder, organization_id, detail)
                if scope.case_id and not scope.record_ids:
                    scope = replace(scope, record_ids=case_store.records_of_case(tx, scope.case_id))
                entry_id = self._decisions.write(
                    tx,
                    "access.authorized",
                    question.actor,
                    organization_id=scope.organization_id,
                    subjects=[grant.grant_id],
                    facts={**question.facts, **self._why(grant), **decision.facts},
                )
        assert grant.expires_at is not None
        remaining = scope.budget - grant.used
        return Authorized(question.actor, scope, grant.expires_at, remaining, entry_id, shows_held(grant))

    def authorize_permission(
        self,
        service: str,
        permission: "grants_pb2.ServicePermission.ValueType",
        grant_id: str,
        person_id: str,
    ) -> Authorized:
        """Before anything is looked up for a service: does this grant stand, which that person asked for and others approved for its
        permission? Written down either way. Raises GRANT_REQUIRED, NOT_UPHELD and what a grant can be short of."""
        question = Question(
            "service:" + service,
            "",
            (grant_id, person_id),
            {"service": service, "permission": _named(permission)},
        )
        with self._decisions.deciding(_DENIED, question), self._database.transaction() as tx:
            grant = store.load(tx, grant_id)
            if grant is None or grant.requested_by != person_id or grant.data is None:
                raise grant_required()
            scope = grant.data
            question.organization_id = scope.organization_id
            question.facts["detail"] = short_name(Detail, scope.detail)
            facts = self._approved_for(tx, service, permission, grant, scope.organization_id, scope.detail)
            if not scope.record_ids:
                scope = replace(scope, record_ids=case_store.records_of_case(tx, scope.case_id))
            entry_id = self._decisions.write(
                tx,
                "access.authorized",
                question.actor,
                organization_id=scope.organization_id,
                subjects=question.subjects,
                facts={**question.facts, **facts},
            )
        assert grant.expires_at is not None
        return Authorized(person_id, scope, grant.expires_at, scope.budget - grant.used, entry_id, True)

    def open_for_person(self, service: str, token: str, grant_id: str, wanted: Wanted) -> Opened:
        """The keys of records under a grant, or leave to show their metadata. All or nothing, unless what is gone is to be left out."""
        question = self._question(service, wanted.organization_id, grant_id, wanted.detail)
        with self._decisions.deciding(_DENIED, question):
            caller = self._tokens.verify(token, service)
            self._require_well_formed(wanted)
            with self._database.transaction() as tx:
                # The lock comes before the questions: what is true of the grant now stays true until the count is committed.
                locked = store.load(tx, grant_id, lock=True) if grant_id else None
                question.subjects = (*question.subjects, *wanted.record_ids)
                holder, people = self._readers.holder(tx, caller, wanted.organization_id, locked, question)
                grant = held(locked, question.actor)
                scope, decision = self._decide(
                    tx, grant, holder, wanted.organization_id, wanted.detail, people
                )
                gone = self._require_records(tx, scope, wanted, held_too=shows_held(grant))
                wanted = wanted.without(gone)
                counting = opened_records.counting(tx, grant.grant_id, wanted.record_ids, self._clock.now())
                keys = self._keys(
                    tx, scope.organization_id, wanted, _within(scope, counting), held_too=shows_held(grant)
                )
                require_in_force(grant, self._clock.now())
                entry_id = self._decisions.write(
                    tx,
                    "records.opened",
                    question.actor,
                    organization_id=scope.organization_id,
                    subjects=[grant.grant_id, *wanted.record_ids],
                    facts={
                        **question.facts,
                        **self._why(grant),
                        **decision.facts,
                        **_counts(wanted, gone),
                    },
                )
        return Opened(keys, entry_id, gone)

    def open_for_service(
        self,
        service: str,
        permission: "grants_pb2.ServicePermission.ValueType",
        wanted: Wanted,
        grant_id: str = "",
    ) -> Opened:
        """The keys of records under a service's own permission: what was left unscreened, within 72 hours (store.opened_records); or, under
        a grant that people approved for that permission, what it covers."""
        question = self._question(service, wanted.organization_id, grant_id, wanted.detail)
        question.facts["permission"] = _named(permission)
        with self._decisions.deciding(_DENIED, question):
            self._require_well_formed(wanted)
            question.subjects = (*question.subjects, *wanted.record_ids)
            if permission not in _ACTIONS or (permission == _EVALUATION and not grant_id):
                raise outside_scope()
            gone: Collection[bytes] = ()
            with self._database.transaction() as tx:
                if grant_id:
                    facts, gone = self._under_grant(tx, service, permission, wanted, grant_id)
                    wanted = wanted.without(gone)
                else:
                    facts = self._unscreened(tx, service, permission, wanted)
                keys = self._keys(tx, wanted.organization_id, wanted)
                entry_id = self._decisions.write(
                    tx,
                    "records.opened",
                    "service:" + service,
                    organization_id=wanted.organization_id,
                    subjects=[*([grant_id] if grant_id else []), *wanted.record_ids],
                    facts={**question.facts, **facts, **_counts(wanted, gone)},
                )
        return Opened(keys, entry_id, gone)

    def _unscreened(
        self,
        tx: Connection,
        service: str,
        permission: "grants_pb2.ServicePermission.ValueType",
        wanted: Wanted,
    ) -> Mapping[str, str | int | bool]:
        now = self._clock.now()
        oldest = min(created_at(record_id) for record_id in wanted.record_ids)
        if self._due(tx, wanted):
            raise outside_scope()
        decision = self._authorization.evaluate(
            service_entity(service),
            "OpenUnscreened",
            organization_entity(wanted.organization_id),
            {"age": milliseconds(now) - milliseconds(oldest)},
        )
        if decision is None or not opened_records.claim_records(tx, permission, wanted.record_ids, now):
            raise outside_scope()
        return decision.facts

    def _under_grant(
        self,
        tx: Connection,
        service: str,
        permission: "grants_pb2.ServicePermission.ValueType",
        wanted: Wanted,
        grant_id: str,
    ) -> tuple[Mapping[str, str | int | bool], Collection[bytes]]:
        """Why, and which of the records are left out."""
        grant = store.load(tx, grant_id, lock=True)
        if grant is None or grant.data is None:
            raise grant_required()
        scope = grant.data
        facts = self._approved_for(tx, service, permission, grant, wanted.organization_id, wanted.detail)
        gone = self._require_records(tx, scope, wanted)
        there = wanted.without(gone).record_ids
        if opened_records.count_records(tx, grant.grant_id, there, self._clock.now()) > scope.budget:
            raise budget_exhausted(scope)
        return facts, gone

    def _approved_for(
        self,
        tx: Connection,
        service: str,
        permission: "grants_pb2.ServicePermission.ValueType",
        grant: Grant,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
    ) -> Mapping[str, str | int | bool]:
        """Why a service may read under a grant now. Raises what the grant is short of."""
        scope, now = grant.data, self._clock.now()
        requester = directory.person(tx, grant.requested_by)
        if scope is None or scope.permission != permission or requester is None:
            raise grant_required()
        resource, context = self._usable(tx, grant, scope, requester, organization_id, detail, now)
        if permission == _EVALUATION:
            upheld = self._is_upheld(tx, scope)
            if not upheld:
                raise not_upheld()
            context |= {"detail": int(detail), "case_upheld": upheld}
        decision = self._authorization.require(
            service_entity(service), _ACTIONS[permission], resource, context
        )
        return {**self._why(grant), **decision.facts}

    def authorize_screening(
        self, service: str, request_id: str, batches: Sequence[tuple[str, Sequence[bytes]]]
    ) -> list[str]:
        """Writes down that the content of these records goes from memory to screening: an entry an organization, in one transaction, the
        same entries however often the request is sent. Raises INVALID_ARGUMENT for an organization that is named twice."""
        if len({organization_id for organization_id, _ in batches}) != len(batches):
            raise invalid("batches", "name an organization twice")
        entry_ids = []
        with self._database.transaction() as tx:
            for organization_id, record_ids in batches:
                decision = self._authorization.require(
                    service_entity(service), "ScreenRecords", organization_entity(organization_id)
                )
                named = "\x00".join(("screening", service, request_id, organization_id)).encode()
                entry_ids.append(
                    self._decisions.write(
                        tx,
                        "records.screened",
                        "service:" + service,
                        organization_id=organization_id,
                        subjects=record_ids,
                        facts={**decision.facts, "records": len(record_ids), "request_id": request_id},
                        entry_id=derived_id("entry", hashlib.sha256(named).digest()),
                    )
                )
        return entry_ids

    @staticmethod
    def _question(
        service: str, organization_id: str, grant_id: str, detail: "grants_pb2.Detail.ValueType"
    ) -> Question:
        facts: dict[str, str | int | bool] = {
            "service": service,
            "detail": short_name(Detail, detail),
        }
        return Question("service:" + service, organization_id, (grant_id,) if grant_id else (), facts)

    @staticmethod
    def _why(grant: Grant) -> dict[str, str | int | bool]:
        return {
            "purpose": what(grant),
            "reason": grant.reason,
            "ticket": grant.ticket,
            "requester": grant.requested_by,
            "approvers": ",".join(vote.approved_by for vote in grant.votes_in_force),
        }

    @staticmethod
    def _require_well_formed(wanted: Wanted) -> None:
        if len(set(wanted.record_ids)) != len(wanted.records):
            raise invalid("records", "name a record twice")
        for data_key_id in {data_key_id for _, data_key_id in wanted.records}:
            if data_key_id and (
                len(data_key_id) != 16 or (wanted.shows_content and data_key_id not in wanted.sealed)
            ):
                raise invalid("data_keys", "do not hold every data key that the records name")

    def _decide(
        self,
        tx: Connection,
        grant: Grant,
        holder: Person | Member,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
        people: Mapping[str, Person] | None = None,
    ) -> tuple[DataScope, Decision]:
        scope = grant.data
        assert scope is not None
        now = self._clock.now()
        resource, context = self._usable(tx, grant, scope, holder, organization_id, detail, now, people)
        case_admits = not scope.case_id or self._case_admits(tx, scope)
        if not case_admits:
            raise case_not_open()
        decision = self._authorization.require(
            principal_entity(holder, now),
            "ReadRecords",
            resource,
            {**context, "detail": int(detail), "case_admits": case_admits},
        )
        return scope, decision

    def _usable(
        self,
        tx: Connection,
        grant: Grant,
        scope: DataScope,
        holder: Person | Member,
        organization_id: str,
        detail: "grants_pb2.Detail.ValueType",
        now: datetime,
        people: Mapping[str, Person] | None = None,
    ) -> tuple[Entity, dict[str, object]]:
        """The grant as policies see it, and what they are told besides, once the rules in code have let it pass. Raises what a grant can be
        short of."""
        approvals = approvals_of(tx, grant, now, people)
        customer_required = self._customer_approval.required(tx, grant)
        require_usable(grant, holder, approvals, customer_required, now)
        # A rule that approved is asked again, like a person.
        by_rule = self._authorization.approves_by_rule
        if grant.rules and (
            isinstance(holder, Member) or by_rule(grant, holder, customer_required, now) is None
        ):
            raise KeptError(
                Reason.REASON_GRANT_REVOKED,
                "The policy that approved the grant would not approve it any more.",
            )
        require_detail(scope, organization_id, detail)
        context = {
            "now": milliseconds(now),
            "organization": organization_id,
            "customer_required": customer_required,
        }
        return grant_entity(grant, approvals, now), context

    def _case_admits(self, tx: Connection, scope: DataScope) -> bool:
        """An open case admits; an upheld one while its hold keeps something of it."""
        case = case_store.case(tx, scope.case_id)
        is_open = case is not None and case.state == "open" and case.organization_id == scope.organization_id
        return is_open or self._is_upheld(tx, scope)

    def _is_upheld(self, tx: Connection, scope: DataScope) -> bool:
        """Whether two people upheld the scope's case, and a hold still keeps something of it."""
        case = case_store.case(tx, scope.case_id)
        if case is None or case.organization_id != scope.organization_id or case.state != "upheld":
            return False
        records = case_store.records_of_case(tx, scope.case_id)
        return bool(self._custody.retained(tx, scope.organization_id, records))

    def _require_records(
        self, tx: Connection, scope: DataScope, wanted: Wanted, *, held_too: bool = True
    ) -> Collection[bytes]:
        """Which of the records are to be left out. Raises OUTSIDE_SCOPE for what is not covered, and for what is gone unless that is left
        out."""
        require_covers(scope, wanted.record_ids)
        if scope.case_id and not set(wanted.record_ids) <= case_store.records_of_case(tx, scope.case_id):
            raise outside_scope()
        gone = self._due(tx, wanted, held_too=held_too)
        if gone and not wanted.leave_out_gone:
            raise outside_scope()
        return gone

    def _due(self, tx: Connection, wanted: Wanted, *, held_too: bool = True) -> set[bytes]:
        """Records past their due instant are gone, whether a run came or not, unless a hold keeps them and the reader is shown such. Raises
        OUTSIDE_SCOPE for ids from after now: logging takes a gateway's ids that far ahead of its own clock, which is that far ahead of ours
        at most."""
        now = self._clock.now()
        _, last = span_of(wanted.record_ids)
        if last > now + 2 * CLOCK_TOLERANCE:
            raise outside_scope()
        gone: set[bytes] = set()
        for lot, record_ids in wanted.lots.items():
            due = {day for day in record_days(record_ids) if now >= self._rules.due_at(lot, day)}
            if due:
                gone.update(record_id for record_id in record_ids if record_day(record_id) in due)
        if gone and held_too:
            gone -= self._custody.retained(tx, wanted.organization_id, gone)
        return gone

    def _keys(
        self,
        tx: Connection,
        organization_id: str,
        wanted: Wanted,
        meanwhile: AbstractContextManager[object] | None = None,
        *,
        held_too: bool = True,
    ) -> dict[bytes, bytes]:
        """Keys by record id; none where none are wanted. meanwhile: what the database does in the time that the cryptography takes.
        held_too: whether holds' keys serve where an epoch's are gone: for a reader who is not shown what only a hold keeps they do not,
        whatever logging says of the record's application, and so of when it is due. Raises OUTSIDE_SCOPE where one cannot be had, unless
        it is to be opened without."""
        meanwhile = meanwhile or nullcontext()
        if not wanted.shows_content:
            with meanwhile:
                return {}
        try:
            return self._custody.record_keys(
                tx,
                organization_id,
                wanted.records,
                wanted.sealed,
                meanwhile,
                wanted.applications,
                held_too=held_too,
                all_or_none=not wanted.leave_out_gone,
            )
        except KeptError as error:
            if error.reason == Reason.REASON_KEY_DESTROYED:
                raise outside_scope() from error
            raise

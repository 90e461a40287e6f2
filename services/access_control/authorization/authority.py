"""May this caller call that method? For this service's own methods, and for the others' by Check."""

import importlib
import pkgutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import kept
from kept.options.v1 import callers_pb2, roles_pb2
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.authorization.call_policy import CallPolicy
from services.access_control.authorization.policy import (
    Authorization,
    Decision,
    member_entity,
    person_entity,
)
from services.access_control.grants.approval import (
    counted,
    not_authorized,
    require_power_requester,
    require_standing,
    require_usable,
)
from services.access_control.people.known_callers import KnownCallers
from services.access_control.people.person import Member, Person, power_name, role_name
from services.access_control.people.tokens import Tokens
from services.access_control.store import Connection, directory
from services.access_control.store import grants as store
from shared.callers import declared, not_allowed, require_kind
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind, RefusedToken

_ALLOWED: Final = "method.allowed"
_DENIED: Final = "method.denied"


def know_all_contracts() -> None:
    """Imports every contract, so that the declared callers of every service's methods are known here."""
    for package in ("settings", "logging", "access_control", "retention", "safety_review", "training"):
        try:
            folder = importlib.import_module(f"{kept.__name__}.{package}.v1")
        except ModuleNotFoundError:  # a service that is not there yet
            continue
        for module in pkgutil.iter_modules(folder.__path__):
            if module.name.endswith("_pb2"):
                importlib.import_module(f"{folder.__name__}.{module.name}")


def powers_in_force(tx: Connection, person: Person, clock: Clock) -> frozenset["roles_pb2.Power.ValueType"]:
    """The powers that the person holds now, under grants whose approvals still count."""
    now = clock.now()
    held = store.powers_of(tx, person.person_id, now)
    voters = directory.people_by_id(tx, {vote.approved_by for grant in held for vote in grant.votes_in_force})
    powers = set()
    for grant in held:
        try:
            require_usable(grant, person, counted(grant, voters, {}, now), False, now)
        except KeptError:
            continue
        powers.add(grant.power)
    return frozenset(powers)


@dataclass(frozen=True)
class Checked:
    """An allowed call. caller: with everything filled in that is known."""

    caller: Caller
    decision: Decision
    audit_entry_id: str


class Authority:
    """Decides on callers of methods. It is the CallerAuthority of this service itself."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        authorization: Authorization,
        decisions: DecisionLog,
        tokens: Tokens,
        support_contact: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._call_policy = CallPolicy(authorization)
        self._decisions = decisions
        self._tokens = tokens
        self._known = KnownCallers(tokens)
        self._support_contact = support_contact
        know_all_contracts()

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        """See shared.service.CallerAuthority. What is allowed writes its own entry as it is done; the use of a role, and refusals, are
        written down here."""
        question = Question(caller.actor, facts={"method": method})
        with self._decisions.deciding(_DENIED, question), self._database.transaction() as tx:
            filled, decision = self._decide(tx, caller, method, question)
            if filled.kind is CallerKind.STAFF and declared(method).roles:
                self._allowed(tx, filled, decision, question)
        return filled

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        """Gateways have no business here."""
        raise not_allowed(method)

    def refused(self, caller: Caller, method: str, error: KeptError) -> None:
        """Writes down that somebody sent what the contract does not allow: which fields, and never what was in them; or a token of theirs
        that is of no use here. See shared.service.Service."""
        if isinstance(error, RefusedToken):
            self._refused_token(caller, method, error)
            return
        with self._database.transaction() as tx:
            self._decisions.write(
                tx,
                "request.refused",
                caller.actor,
                organization_id=caller.organization_id,
                facts={
                    "method": method,
                    "refused": error.name,
                    "fields": ",".join(field for field, _ in error.fields)[:500],
                },
            )

    def _refused_token(self, caller: Caller, method: str, error: RefusedToken) -> None:
        with self._database.transaction() as tx:
            error.actor = self._tokens.actor(tx, caller)
        if error.actor:
            question = Question(error.actor, facts={"method": method})
            with suppress(RefusedToken), self._decisions.deciding(_DENIED, question, tokens_once=True):
                raise error

    def check(self, service: str, token: str, method: str) -> Checked:
        """The answer to another service's question about one of its own methods; in the audit log in any case but that of a token of no
        use that was written down lately.

        Raises UNAUTHENTICATED, CALLER_NOT_ALLOWED, NOT_AUTHORIZED, POWER_REQUIRED, ADMIN_REQUIRED.
        """
        question = Question("service:" + service, facts={"method": method, "service": service})
        with self._decisions.deciding(_DENIED, question, tokens_once=True):
            if not method.startswith(f"/kept.{service}.v1."):
                raise not_allowed(method)
            # Before the transaction: it may have to fetch the issuer's keys.
            caller = self._tokens.verify(token, service)
            require_kind(caller, method)
            checked = self._allowed_as_known(caller, method, replace(question))
            if checked is not None:
                return checked
            with self._database.transaction() as tx:
                filled, decision = self._decide(tx, caller, method, question)
                entry_id = self._allowed(tx, filled, decision, question)
            return Checked(filled, decision, entry_id)

    def voices(self, service: str, person_ids: Sequence[str], method: str) -> list[str]:
        """Who of these people could call that method of the service now (`may`). Raises CALLER_NOT_ALLOWED for another service's method."""
        if not method.startswith(f"/kept.{service}.v1."):
            raise not_allowed(method)
        with self._database.transaction() as tx:
            known = directory.people_by_id(tx, set(person_ids))
            return [one for one in person_ids if one in known and self._could(tx, known[one], method)]

    def may(self, tx: Connection, person_id: str, method: str) -> bool:
        """Whether somebody could call a method now, as far as roles, agreements and policies say. A power that the method needs is taken
        for held by whoever could hold it now: powers are for hours, and that one ended since says nothing against what was done while it
        was in force."""
        person = directory.person(tx, person_id)
        return person is not None and self._could(tx, person, method)

    def _could(self, tx: Connection, person: Person, method: str) -> bool:
        callers = declared(method)
        powers = frozenset({callers.power} if callers.power else ())
        try:
            if callers.power:
                require_power_requester(callers.power, person, self._clock.now())
            self._decide_on_person(tx, Caller(CallerKind.STAFF), person, callers, method, powers)
        except KeptError:
            return False
        return True

    def _allowed_as_known(self, caller: Caller, method: str, question: Question) -> Checked | None:
        """The answer by what is known of somebody, if that allows it and is still so as the entry is written: one round trip to the
        database. None in any other case: then it takes a look at the directory to say."""
        known, callers = self._known.find(caller), declared(method)
        if known is None or (callers.power and isinstance(known.who, Person)):
            return None
        try:
            filled, decision = self._decide_on(caller, known.who, callers, method, question, None)
        except KeptError:
            return None  # it may be allowed by now
        entry_id = self._decisions.write_where_unchanged(
            _ALLOWED,
            filled.actor,
            known.basis,
            organization_id=question.organization_id,
            facts={name: str(fact) for name, fact in question.facts.items()} | decision.facts,
        )
        return None if entry_id is None else Checked(filled, decision, entry_id)

    def _allowed(self, tx: Connection, caller: Caller, decision: Decision, question: Question) -> str:
        return self._decisions.write(
            tx,
            _ALLOWED,
            caller.actor,
            organization_id=question.organization_id,
            facts={**question.facts, **decision.facts},
        )

    def _decide(
        self, tx: Connection, caller: Caller, method: str, question: Question
    ) -> tuple[Caller, Decision]:
        who = self._known.read(tx, caller)
        return self._decide_on(caller, who, declared(method), method, question, tx)

    def _decide_on(
        self,
        caller: Caller,
        who: Person | Member,
        callers: callers_pb2.Callers,
        method: str,
        question: Question,
        tx: Connection | None,
    ) -> tuple[Caller, Decision]:
        """tx: None where nothing but `who` is known; what needs more is refused then."""
        if isinstance(who, Member):
            question.actor, question.organization_id = who.member_id, who.organization_id
            self._require_member(tx, who, callers, method)
            decision = self._call_policy.require(member_entity(who), method, callers)
            return replace(caller, member_id=who.member_id, customer_role=who.role), decision
        question.actor = who.person_id
        return self._decide_on_person(tx, caller, who, callers, method)

    def _decide_on_person(
        self,
        tx: Connection | None,
        caller: Caller,
        person: Person,
        callers: callers_pb2.Callers,
        method: str,
        powers: frozenset["roles_pb2.Power.ValueType"] | None = None,
    ) -> tuple[Caller, Decision]:
        """powers: that the person is taken to hold; None for those in force."""
        now = self._clock.now()
        require_standing(person, now)
        roles = person.roles_at(now)
        if not callers.any_staff and not callers.roles:
            raise not_allowed(method)
        if not callers.any_staff and not roles & frozenset(callers.roles):
            names = sorted(role_name(role) for role in callers.roles)
            raise not_authorized("one of the roles " + ", ".join(names))
        if powers is None:
            powers = frozenset()
            if callers.power and tx is not None:
                powers = powers_in_force(tx, person, self._clock)
        if callers.power and callers.power not in powers:
            raise KeptError(
                Reason.REASON_POWER_REQUIRED,
                "This needs a grant of a power that is in force; request one.",
                metadata={"power": roles_pb2.Power.Name(callers.power)},
            )
        names_of_powers = frozenset(power_name(power) for power in powers)
        principal = person_entity(person, now, names_of_powers)
        decision = self._call_policy.require(principal, method, callers)
        return replace(caller, person_id=person.person_id, roles=roles), decision

    def _require_member(
        self, tx: Connection | None, member: Member, callers: callers_pb2.Callers, method: str
    ) -> None:
        if member.role in callers.customers:
            return
        if tx is None or roles_pb2.CUSTOMER_ROLE_ADMIN not in callers.customers:
            raise not_allowed(method)
        names = ", ".join(admin.display_name for admin in directory.admins(tx, member.organization_id))
        raise KeptError(
            Reason.REASON_ADMIN_REQUIRED,
            "Only an admin of your organization may do this.",
            metadata={"admins": names} if names else {"support": self._support_contact},
        )

"""May this caller call that method? For this service's own methods, and for the others' by Check."""

import importlib
import pkgutil
from dataclasses import dataclass, replace
from typing import Final

import kept
from kept.options.v1 import callers_pb2, roles_pb2
from services.access_control.authorization import (
    Authorization,
    Decision,
    member_entity,
    method_entity,
    person_entity,
)
from services.access_control.decision_log import DecisionLog, Question
from services.access_control.grants import counted, not_authorized, require_standing, require_usable
from services.access_control.people import Member, Person, power_name, role_name
from services.access_control.store import Connection, directory
from services.access_control.store import grants as store
from services.access_control.tokens import Tokens
from shared.callers import declared, not_allowed, require_kind
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind

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
    voters = directory.people_by_id(tx, {vote.approved_by for grant in held for vote in grant.votes})
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
        self._authorization = authorization
        self._decisions = decisions
        self._tokens = tokens
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

    def check(self, service: str, token: str, method: str) -> Checked:
        """The answer to another service's question about one of its own methods; in the audit log in any case.

        Raises UNAUTHENTICATED, CALLER_NOT_ALLOWED, NOT_AUTHORIZED, POWER_REQUIRED, ADMIN_REQUIRED.
        """
        question = Question("service:" + service, facts={"method": method, "service": service})
        with self._decisions.deciding(_DENIED, question):
            if not method.startswith(f"/kept.{service}.v1."):
                raise not_allowed(method)
            # Before the transaction: it may have to fetch the issuer's keys.
            caller = self._tokens.verify(token, service)
            require_kind(caller, method)
            with self._database.transaction() as tx:
                filled, decision = self._decide(tx, caller, method, question)
                entry_id = self._allowed(tx, filled, decision, question)
            return Checked(filled, decision, entry_id)

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
        callers = declared(method)
        if caller.kind is CallerKind.CUSTOMER:
            member = self._tokens.member(tx, caller)
            question.actor, question.organization_id = member.member_id, member.organization_id
            self._require_member(tx, member, callers, method)
            decision = self._authorization.require(
                member_entity(member), "CallMethod", method_entity(method, callers)
            )
            return replace(caller, member_id=member.member_id, customer_role=member.role), decision
        person = self._tokens.person(tx, caller)
        question.actor = person.person_id
        return self._decide_on_person(tx, caller, person, callers, method)

    def _decide_on_person(
        self, tx: Connection, caller: Caller, person: Person, callers: callers_pb2.Callers, method: str
    ) -> tuple[Caller, Decision]:
        require_standing(person, self._clock.now())
        roles = person.roles_at(self._clock.now())
        if not callers.any_staff and not callers.roles:
            raise not_allowed(method)
        if not callers.any_staff and not roles & frozenset(callers.roles):
            names = sorted(role_name(role) for role in callers.roles)
            raise not_authorized("one of the roles " + ", ".join(names))
        powers = powers_in_force(tx, person, self._clock) if callers.power else frozenset()
        if callers.power and callers.power not in powers:
            raise KeptError(
                Reason.REASON_POWER_REQUIRED,
                "This needs a grant of a power that is in force; request one.",
                metadata={"power": roles_pb2.Power.Name(callers.power)},
            )
        decision = self._authorization.require(
            person_entity(person, self._clock.now(), frozenset(power_name(power) for power in powers)),
            "CallMethod",
            method_entity(method, callers),
        )
        return replace(caller, person_id=person.person_id, roles=roles), decision

    def _require_member(
        self, tx: Connection, member: Member, callers: callers_pb2.Callers, method: str
    ) -> None:
        if member.role in callers.customers:
            return
        if roles_pb2.CUSTOMER_ROLE_ADMIN not in callers.customers:
            raise not_allowed(method)
        names = ", ".join(admin.display_name for admin in directory.admins(tx, member.organization_id))
        raise KeptError(
            Reason.REASON_ADMIN_REQUIRED,
            "Only an admin of your organization may do this.",
            metadata={"admins": names} if names else {"support": self._support_contact},
        )

"""The directory's acts: people, their roles and agreements; members. Each is one transaction with its audit entry, under the row lock of
the person it is about; whoever loses authority loses the grants that rest on it in the same transaction (`ended_authority`).

Providers have a module of their own, as have identities and reviews.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.grants.acts import end_grants
from services.access_control.grants.ended_authority import end_lost, end_of_member
from services.access_control.people.person import Identity, Member, Person, role_name
from services.access_control.people.second_person import (
    Voice,
    require_other,
    require_outside,
    require_second,
    require_voices,
)
from services.access_control.people.standing import (
    LONGEST_AGREEMENT,
    Agreement,
    Kinds,
    Provider,
    ReviewTerms,
    RoleAssignment,
)
from services.access_control.store import Connection, affiliations, standing
from services.access_control.store import directory as store
from services.access_control.store import grants as grant_store
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, not_found, wrong_state
from shared.ids import new_id
from shared.lookalikes import confusable, looks
from shared.names import require_shown

_REFUSED = "directory.refused"


@dataclass(frozen=True)
class Erased:
    """What an erasure removed, by kind, and when."""

    erased_at: datetime
    removed: dict[str, int]


def identity_taken() -> KeptError:
    """Somebody has this e-mail address or identity."""
    return KeptError(
        Reason.REASON_ALREADY_EXISTS, "This identity or e-mail address is taken.", metadata={"kind": "person"}
    )


def kind_names(kinds: Kinds) -> str:
    """ "CONFIDENTIALITY, SECURITY_CONTROLS": as facts have them."""
    return ", ".join(short_name(directory_pb2.AgreementKind, kind) for kind in sorted(kinds))


def require_agreement_times(signed_at: datetime, expires_at: datetime, now: datetime) -> None:
    """Raises INVALID_ARGUMENT for an agreement signed in the future, or in force for more than 400 days or none."""
    if signed_at > now:
        raise invalid("signed_at", "lies in the future")
    if not signed_at < expires_at <= signed_at + LONGEST_AGREEMENT:
        raise invalid("expires_at", "is not within 400 days after signed_at")


def add_person(tx: Connection, person: Person, identity: Identity, at: datetime) -> None:
    """Adds a person that nobody looks like. Raises INVALID_ARGUMENT for a name that shows nothing; ALREADY_EXISTS, CONFUSABLE."""
    require_shown(display_name=person.display_name)
    if not store.add_person(tx, person, identity, at):
        raise identity_taken()
    for field, text in (("display_name", person.display_name), ("email", person.email)):
        if not standing.claim_looks(tx, field, looks(text), person.person_id):
            raise confusable(field)


def known_issuer(issuers: Sequence[str], issuer: str) -> str:
    """The issuer, or the first where none is named. Raises INVALID_ARGUMENT for one that is not configured."""
    if issuer and issuer not in issuers:
        raise invalid("issuer", "is none of the workforce's")
    return issuer or issuers[0]


class Directory:
    """The acts. actor: the canonical person who acts. issuers: the workforce's, of whose tokens subjects are. voice: whether
    who proposed something may still."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decisions: DecisionLog,
        issuers: Sequence[str],
        terms: ReviewTerms,
        voice: Voice,
    ) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._issuers = issuers
        self._terms = terms
        self._voice = voice

    def create_person(
        self,
        actor: str,
        display_name: str,
        email: str,
        subject: str,
        *,
        issuer: str = "",
        provider_id: str = "",
    ) -> Person:
        """Adds a person who can do nothing yet. Raises ALREADY_EXISTS, CONFUSABLE, INVALID_ARGUMENT, NOT_FOUND, WRONG_STATE."""
        issuer = known_issuer(self._issuers, issuer)
        question = Question(actor, facts={"act": "create"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            now = self._clock.now()
            provider = self._provider(tx, provider_id) if provider_id else None
            person = Person(new_id("person"), display_name, email, provider=provider)
            identity = Identity(new_id("identity"), person.person_id, issuer, subject, actor, now, actor)
            add_person(tx, person, identity, now)
            self._decisions.write(
                tx,
                "person.created",
                actor,
                subjects=[person.person_id, identity.identity_id],
                facts={"provider": provider_id} if provider_id else {},
            )
        return person

    def assign_role(
        self, actor: str, person_id: str, role: "roles_pb2.StaffRole.ValueType"
    ) -> RoleAssignment:
        """Proposes a role, or gives the one that is proposed or held; one that has lapsed makes room. Raises SECOND_PERSON_REQUIRED,
        NOT_FOUND, WRONG_STATE."""
        question = Question(actor, subjects=(person_id,), facts={"act": "assign", "role": role_name(role)})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            require_other(actor, person_id)
            person = self._enabled(tx, person_id)
            now = self._clock.now()
            for held in person.roles:
                if held.role != role:
                    continue
                if not held.has_lapsed(now):
                    return held
                end_lost(tx, self._decisions, [person_id], actor, "a role lapsed", now)
                store.end_assignment(tx, held.role_assignment_id, actor, now)
                self._written(tx, "role.ended", actor, held)
            made = RoleAssignment(
                new_id("role"), person_id, role, actor, now, review=self._terms.confirmed(actor, now)
            )
            store.add_assignment(tx, made)
            self._written(tx, "role.proposed", actor, made)
        return made

    def confirm_role(self, actor: str, role_assignment_id: str) -> RoleAssignment:
        """Makes a proposed role count. Raises SECOND_PERSON_REQUIRED, NOT_FOUND, WRONG_STATE."""
        question = Question(actor, subjects=(role_assignment_id,), facts={"act": "confirm"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            proposed = self._locked_assignment(tx, role_assignment_id, actor)
            self._enabled(tx, proposed.person_id)
            require_second(actor, proposed.assigned_by, proposed.person_id)
            now = self._clock.now()
            if proposed.has_lapsed(now):
                raise wrong_state("The role has lapsed; it has to be proposed anew.", "LAPSED")
            if proposed.confirmed_by == actor:
                return proposed
            if proposed.confirmed_by:
                raise wrong_state("The role is confirmed already.", "CONFIRMED")
            require_voices(self._voice, tx, proposed.assigned_by, "AssignRole", actor, "ConfirmRole")
            end_lost(tx, self._decisions, [proposed.person_id], actor, "it lapsed before this role", now)
            review = self._terms.confirmed(actor, now)
            store.confirm_assignment(tx, role_assignment_id, actor, review)
            self._written(tx, "role.confirmed", actor, proposed)
        return replace(proposed, confirmed_by=actor, review=review)

    def end_role(self, actor: str, role_assignment_id: str) -> int:
        """Ends a role and the grants that rest on it; returns how many. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            ending = self._locked_assignment(tx, role_assignment_id)
            now = self._clock.now()
            store.end_assignment(tx, role_assignment_id, actor, now)
            ended = end_lost(tx, self._decisions, [ending.person_id], actor, "a role ended", now)
            self._written(tx, "role.ended", actor, ending)
        return ended

    def record_agreement(
        self,
        actor: str,
        signer_id: str,
        kinds: Kinds,
        document_sha256: bytes,
        signed_at: datetime,
        expires_at: datetime,
    ) -> str:
        """Writes a signed agreement of a person or a provider down. Returns its id. Raises SECOND_PERSON_REQUIRED, NOT_FOUND, WRONG_STATE,
        INVALID_ARGUMENT."""
        question = Question(actor, subjects=(signer_id,), facts={"act": "record an agreement"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            now = self._clock.now()
            require_agreement_times(signed_at, expires_at, now)
            concerned = self._signer(tx, actor, signer_id)
            end_lost(tx, self._decisions, concerned, actor, "an agreement ended before this one", now)
            agreement = Agreement(
                new_id("agreement"),
                signer_id,
                kinds,
                document_sha256,
                signed_at,
                expires_at,
                actor,
                now,
                self._terms.confirmed(actor, now),
            )
            standing.add_agreement(tx, agreement)
            self._decisions.write(
                tx,
                "agreement.recorded",
                actor,
                subjects=[agreement.agreement_id, signer_id],
                facts={
                    "document_sha256": document_sha256.hex(),
                    "expires_at": expires_at.isoformat(),
                    "kinds": kind_names(kinds),
                },
            )
        return agreement.agreement_id

    def _signer(self, tx: Connection, actor: str, signer_id: str) -> list[str]:
        """Locks who signed; gives the people whose standing rests on it."""
        if signer_id.startswith("provider_"):
            self._provider(tx, signer_id, "update")
            require_outside(store.person(tx, actor), signer_id)
            return store.lock_people_of(tx, signer_id)
        require_other(actor, signer_id)
        self._enabled(tx, signer_id)
        return [signer_id]

    def disable_person(self, actor: str, person_id: str) -> int:
        """Ends what a person can do, and their grants; returns how many. Raises SECOND_PERSON_REQUIRED, NOT_FOUND."""
        question = Question(actor, subjects=(person_id,), facts={"act": "disable"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            require_other(actor, person_id)
            person = store.person(tx, person_id, "update")
            if person is None:
                raise not_found("person")
            if person.disabled:
                return 0
            now = self._clock.now()
            store.disable(tx, person_id, now)
            ended = end_lost(tx, self._decisions, [person_id], actor, "the person was disabled", now)
            self._decisions.write(
                tx, "person.disabled", actor, subjects=[person_id], facts={"ended_grants": ended}
            )
        return ended

    def list_people(self, after: int, limit: int) -> list[tuple[int, Person]]:
        """People in order of creation, each with its number, after that number."""
        with self._database.transaction() as tx:
            return store.list_people(tx, after, limit)

    def person(self, person_id: str) -> Person:
        """A person. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            person = store.person(tx, person_id)
        if person is None:
            raise not_found("person")
        return person

    def sync_member(self, member: Member) -> None:
        """Takes a member over from settings; an older revision changes nothing. Whoever is no admin any more takes along the grants that
        they hold or that rest on their approval. Of an organization that was erased nothing is taken over."""
        with self._database.transaction() as tx:
            store.lock_members(tx, member.organization_id)
            if store.erasure(tx, member.organization_id) is not None:
                return
            known = store.member(tx, member.member_id, "update")
            if not store.sync_member(tx, member):
                return
            if known is not None and known.is_admin and not member.is_admin:
                end_of_member(
                    tx,
                    self._decisions,
                    member.member_id,
                    "service:settings",
                    "an admin that it rested on is none any more",
                    self._clock.now(),
                )

    def erase_organization(self, organization_id: str, erasure_id: str) -> Erased:
        """Ends the organization's grants and takes its people's names away. A repeated call gives the counts of the first."""
        with self._database.transaction() as tx:
            now = self._clock.now()
            store.lock_members(tx, organization_id)
            if not store.add_erasure(tx, organization_id, erasure_id, now):
                found = store.erasure(tx, organization_id)
                assert found is not None
                return Erased(*found)
            # Members before grants, as everywhere: an admin who is just approving is waited for.
            members = store.erase_members(tx, organization_id)
            affiliations.forget_organization(tx, organization_id)
            ended = end_grants(
                tx,
                self._decisions,
                grant_store.open_of_organization(tx, organization_id),
                "service:retention",
                "the organization was erased",
                now,
            )
            removed = {"grants": ended, "members": members}
            store.set_erased(tx, organization_id, removed)
            self._decisions.write(
                tx,
                "organization.erased",
                "service:retention",
                organization_id=organization_id,
                subjects=[erasure_id],
                facts={**removed, "service": "access_control"},
            )
            return Erased(now, removed)

    def _enabled(self, tx: Connection, person_id: str) -> Person:
        person = store.person(tx, person_id, "update")
        if person is None:
            raise not_found("person")
        if person.disabled:
            raise wrong_state("The person is disabled.", "DISABLED")
        return person

    def _provider(self, tx: Connection, provider_id: str, lock: store.Lock = "share") -> Provider:
        provider = standing.provider(tx, provider_id, lock)
        if provider is None:
            raise not_found("provider")
        if provider.ended_at is not None:
            raise wrong_state("The provider was ended.", "ENDED")
        return provider

    def _locked_assignment(
        self, tx: Connection, role_assignment_id: str, confirmed_by: str = ""
    ) -> RoleAssignment:
        """A role under its person's lock; where somebody confirms it, with their standing and that of who proposed it locked too."""
        found = store.assignment(tx, role_assignment_id)
        if found is not None:
            voices = (found.assigned_by, confirmed_by) if confirmed_by else ()
            store.lock_people(tx, voices, changed=found.person_id)
            found = store.assignment(tx, role_assignment_id)
        if found is None:
            raise not_found("role")
        return found

    def _written(self, tx: Connection, kind: str, actor: str, role: RoleAssignment) -> None:
        self._decisions.write(
            tx,
            kind,
            actor,
            subjects=[role.role_assignment_id, role.person_id],
            facts={"role": role_name(role.role), "person": role.person_id},
        )

"""Identities: the ways in which one person signs in. A further one takes two people, and is that person's for ever."""

from collections.abc import Sequence
from dataclasses import replace

from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.people.directory import identity_taken, known_issuer
from services.access_control.people.person import Identity
from services.access_control.people.second_person import Voice, require_other, require_second, require_voices
from services.access_control.store import Connection
from services.access_control.store import directory as people
from services.access_control.store import identities as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, wrong_state
from shared.ids import new_id

_REFUSED = "directory.refused"


class Identities:
    """The acts. actor: the canonical person who acts. issuers: the workforce's. voice: as in the directory."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        decisions: DecisionLog,
        issuers: Sequence[str],
        voice: Voice,
    ) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._issuers = issuers
        self._voice = voice

    def link(self, actor: str, person_id: str, issuer: str, subject: str) -> Identity:
        """Proposes an identity, also one of this person that was ended, or gives the one that they have already. Raises
        SECOND_PERSON_REQUIRED, ALREADY_EXISTS, NOT_FOUND, WRONG_STATE, INVALID_ARGUMENT."""
        issuer = known_issuer(self._issuers, issuer)
        question = Question(actor, subjects=(person_id,), facts={"act": "link"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            require_other(actor, person_id)
            self._enabled(tx, person_id)
            for known in store.identities_of(tx, person_id):
                if (known.issuer, known.subject) == (issuer, subject):
                    return known
            new = Identity(new_id("identity"), person_id, issuer, subject, actor, self._clock.now())
            made = store.propose_again(tx, new)
            if made is None:
                made = new
                if not store.add_identity(tx, made):
                    raise identity_taken()
            self._written(tx, "identity.proposed", actor, made)
        return made

    def confirm(self, actor: str, identity_id: str) -> Identity:
        """Has a proposed identity sign in. Raises SECOND_PERSON_REQUIRED, NOT_FOUND, WRONG_STATE."""
        question = Question(actor, subjects=(identity_id,), facts={"act": "confirm"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            proposed = self._locked(tx, identity_id, actor)
            self._enabled(tx, proposed.person_id)
            require_second(actor, proposed.linked_by, proposed.person_id)
            if proposed.confirmed_by == actor:
                return proposed
            if proposed.confirmed_by:
                raise wrong_state("The identity is confirmed already.", "CONFIRMED")
            require_voices(self._voice, tx, proposed.linked_by, "LinkIdentity", actor, "ConfirmIdentity")
            store.confirm_identity(tx, identity_id, actor)
            self._written(tx, "identity.confirmed", actor, proposed)
        return replace(proposed, confirmed_by=actor)

    def end(self, actor: str, identity_id: str) -> None:
        """Nobody signs in with it any more. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            ending = self._locked(tx, identity_id)
            store.end_identity(tx, identity_id, actor, self._clock.now())
            self._written(tx, "identity.ended", actor, ending)

    def of_person(self, person_id: str) -> list[Identity]:
        """A person's, proposed ones included. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            if people.person(tx, person_id) is None:
                raise not_found("person")
            return store.identities_of(tx, person_id)

    def _enabled(self, tx: Connection, person_id: str) -> None:
        person = people.person(tx, person_id, "update")
        if person is None:
            raise not_found("person")
        if person.disabled:
            raise wrong_state("The person is disabled.", "DISABLED")

    def _locked(self, tx: Connection, identity_id: str, confirmed_by: str = "") -> Identity:
        """An identity under its person's lock; where somebody confirms it, with their standing and that of who proposed it locked too."""
        before = store.identity(tx, identity_id)
        if before is None:
            raise not_found("identity")
        voices = (before.linked_by, confirmed_by) if confirmed_by else ()
        people.lock_people(tx, voices, changed=before.person_id)
        found = store.identity(tx, identity_id)
        # Ended meanwhile; proposed again by somebody else, it is another proposal.
        if found is None or found.linked_by != before.linked_by:
            raise not_found("identity")
        return found

    def _written(self, tx: Connection, kind: str, actor: str, identity: Identity) -> None:
        # Neither issuer nor subject: a subject may be a name or an address. The directory has them under the id.
        self._decisions.write(tx, kind, actor, subjects=[identity.identity_id, identity.person_id])

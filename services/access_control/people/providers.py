"""Providers: sub-processors whose people work here. Their people count only while the provider itself does (`standing.Provider.until`)."""

from dataclasses import replace

from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.grants.ended_authority import end_lost
from services.access_control.people.second_person import (
    Voice,
    require_outside,
    require_second,
    require_voices,
)
from services.access_control.people.standing import Provider, ReviewTerms
from services.access_control.store import Connection, reviews
from services.access_control.store import directory as people
from services.access_control.store import standing as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, wrong_state
from shared.ids import new_id
from shared.lookalikes import confusable, looks
from shared.names import require_shown

_REFUSED = "directory.refused"


class Providers:
    """The acts. actor: the canonical person who acts. voice: as in the directory."""

    def __init__(
        self, database: Database, clock: Clock, decisions: DecisionLog, terms: ReviewTerms, voice: Voice
    ) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._terms = terms
        self._voice = voice

    def create(self, actor: str, name: str) -> Provider:
        """Proposes a provider, also under the name of one that was ended. Raises INVALID_ARGUMENT where it shows nothing, CONFUSABLE."""
        question = Question(actor, facts={"act": "create a provider"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            require_shown(name=name)
            now = self._clock.now()
            made = Provider(new_id("provider"), name, actor, now, self._terms.confirmed(actor, now))
            if not store.claim_looks(tx, "provider", looks(name), made.provider_id):
                raise confusable("name")
            store.add_provider(tx, made)
            self._decisions.write(tx, "provider.proposed", actor, subjects=[made.provider_id])
        return made

    def confirm(self, actor: str, provider_id: str) -> Provider:
        """Makes a proposed provider count. Raises SECOND_PERSON_REQUIRED, NOT_FOUND, WRONG_STATE."""
        question = Question(actor, subjects=(provider_id,), facts={"act": "confirm"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            proposed = self._locked(tx, provider_id)
            require_second(actor, proposed.created_by, provider_id)
            people.lock_people(tx, (proposed.created_by, actor))
            require_outside(people.person(tx, actor), provider_id)
            now = self._clock.now()
            if proposed.confirmed_by == actor:
                return proposed
            if proposed.confirmed_by:
                raise wrong_state("The provider is confirmed already.", "CONFIRMED")
            if now >= proposed.review.lapses_at:
                raise wrong_state("The proposal has lapsed; end it, and propose the provider anew.", "LAPSED")
            require_voices(self._voice, tx, proposed.created_by, "CreateProvider", actor, "ConfirmProvider")
            review = self._terms.confirmed(actor, now)
            store.confirm_provider(tx, provider_id, actor, review)
            self._decisions.write(tx, "provider.confirmed", actor, subjects=[provider_id])
        return replace(proposed, confirmed_by=actor, review=review)

    def end(self, actor: str, provider_id: str) -> int:
        """Ends a provider and the grants of its people; returns how many. Raises NOT_FOUND, WRONG_STATE."""
        with self._database.transaction() as tx:
            self._locked(tx, provider_id)
            concerned = people.lock_people_of(tx, provider_id)
            now = self._clock.now()
            reviews.end(tx, provider_id, actor, now)
            ended = end_lost(tx, self._decisions, concerned, actor, "their provider ended", now)
            self._decisions.write(
                tx, "provider.ended", actor, subjects=[provider_id], facts={"ended_grants": ended}
            )
        return ended

    def list(self, after: int, limit: int) -> list[tuple[int, Provider]]:
        """Providers in order of creation, each with its number, after that number."""
        with self._database.transaction() as tx:
            return store.list_providers(tx, after, limit)

    def _locked(self, tx: Connection, provider_id: str) -> Provider:
        provider = store.provider(tx, provider_id, "update")
        if provider is None:
            raise not_found("provider")
        if provider.ended_at is not None:
            raise wrong_state("The provider was ended.", "ENDED")
        return provider

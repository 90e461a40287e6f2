"""Reviews: roles, agreements and providers that nobody confirmed for a while are listed, confirmed or ended; what nobody confirms in time
lapses. At the instant of the lapse it counts for nothing (`standing`); a job writes that down and ends what rested on it, soon after.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.access_control.audit.decision_log import DecisionLog, Question
from services.access_control.grants.ended_authority import end_lost
from services.access_control.notifications import Ids
from services.access_control.people.directory import kind_names
from services.access_control.people.person import role_name
from services.access_control.people.second_person import require_other, require_outside
from services.access_control.people.standing import Review, ReviewTerms
from services.access_control.store import Connection, standing
from services.access_control.store import directory as people
from services.access_control.store import reviews as store
from services.access_control.store.reviews import Reviewed
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, wrong_state
from shared.jobs import Attempts, Job

_REFUSED: Final = "directory.refused"
_SERVICE: Final = "service:access_control"
# How soon after an instant that ends something its end is written down.
_INTERVAL: Final = timedelta(seconds=3)
_AT_ONCE: Final = 50


class Reviews:
    """The acts, and the job. actor: the canonical person who acts."""

    def __init__(self, database: Database, clock: Clock, decisions: DecisionLog, terms: ReviewTerms) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions
        self._terms = terms
        self.job = Job("reviews", _INTERVAL, self.step)

    def list_due(self, after: tuple[datetime, str] | None, limit: int) -> list[Reviewed]:
        """What is to be confirmed or has lapsed, the longest unconfirmed first, after (reviewed_at, subject_id)."""
        with self._database.transaction() as tx:
            return store.list_due(tx, self._clock.now(), after, limit)

    def keep(self, actor: str, subject_id: str) -> Review:
        """Confirms. Raises SECOND_PERSON_REQUIRED, NOT_FOUND, WRONG_STATE."""
        question = Question(actor, subjects=(subject_id,), facts={"act": "keep"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            found, _ = self._locked(tx, actor, subject_id)
            now = self._clock.now()
            if now >= found.review.lapses_at:
                raise wrong_state("It has lapsed; give it anew.", "LAPSED")
            if not found.confirmed:
                raise wrong_state("It is only proposed; confirm the proposal.", "PROPOSED")
            if found.expires_at is not None and now >= found.expires_at:
                raise wrong_state("The agreement is over; record the next one.", "EXPIRED")
            review = self._terms.confirmed(actor, now)
            store.confirm(tx, subject_id, review)
            self._written(tx, "review.confirmed", actor, found, {"lapses_at": review.lapses_at.isoformat()})
        return review

    def end(self, actor: str, subject_id: str) -> int:
        """Ends it on the spot, and the grants that rest on it; returns how many. Raises SECOND_PERSON_REQUIRED, NOT_FOUND."""
        question = Question(actor, subjects=(subject_id,), facts={"act": "end"})
        with self._decisions.deciding(_REFUSED, question), self._database.transaction() as tx:
            found, concerned = self._locked(tx, actor, subject_id)
            now = self._clock.now()
            store.end(tx, subject_id, actor, now)
            kind = _kind(subject_id)
            ended = end_lost(tx, self._decisions, concerned, actor, f"a review ended the {kind}", now)
            self._written(tx, f"{kind}.ended", actor, found, {"ended_grants": ended})
        return ended

    def step(self) -> bool:
        """Notes what became due, lapsed or ran out, each once, and ends what rested on what is over. True when there may be more."""
        with self._database.transaction() as tx:
            found = store.unnoted(tx, self._clock.now(), _AT_ONCE)
        attempts = Attempts()
        for subject, _ in found:
            with attempts.attempt(), self._database.transaction() as tx:
                self._note(tx, subject)
        attempts.raise_first()
        return len(found) == _AT_ONCE

    def _note(self, tx: Connection, subject: Reviewed) -> None:
        concerned = self._lock(tx, subject)
        now = self._clock.now()
        found = store.reviewed(tx, subject.subject_id)
        if found is None or (now < found.review.due_at and not _is_over(found, now)):
            return  # ended or confirmed meanwhile
        is_over = _is_over(found, now)
        if not store.note(tx, found.subject_id, now, is_over=is_over):
            return
        kind = _kind(found.subject_id)
        lapsed = now >= found.review.lapses_at
        if not is_over:
            self._written(
                tx, "review.due", _SERVICE, found, {"lapses_at": found.review.lapses_at.isoformat()}
            )
            self._tell(tx, "review.due", found)
            return
        why = f"the {kind} lapsed" if lapsed else "the agreement ran out"
        ended = end_lost(tx, self._decisions, concerned, _SERVICE, why, now)
        event = "review.lapsed" if lapsed else "agreement.expired"
        self._written(tx, event, _SERVICE, found, {"ended_grants": ended})
        if lapsed:
            self._tell(tx, event, found)

    def _locked(self, tx: Connection, actor: str, subject_id: str) -> tuple[Reviewed, list[str]]:
        """What is reviewed, under the lock of whom it is about, and the people whose standing rests on it."""
        found = store.reviewed(tx, subject_id)
        if found is None:
            raise not_found(_kind(subject_id))
        if found.holder_id.startswith("provider_"):
            require_outside(people.person(tx, actor), found.holder_id)
        else:
            require_other(actor, found.holder_id)
        concerned = self._lock(tx, found)
        found = store.reviewed(tx, subject_id)
        if found is None:
            raise not_found(_kind(subject_id))
        return found, concerned

    def _lock(self, tx: Connection, subject: Reviewed) -> list[str]:
        if subject.holder_id.startswith("provider_"):
            standing.provider(tx, subject.holder_id, "update")
            return people.lock_people_of(tx, subject.holder_id)
        people.person(tx, subject.holder_id, "update")
        return [subject.holder_id]

    def _written(
        self, tx: Connection, kind: str, actor: str, subject: Reviewed, facts: dict[str, str | int | bool]
    ) -> None:
        if subject.role:
            facts = {**facts, "role": role_name(subject.role)}
        if subject.kinds:
            facts = {**facts, "kinds": kind_names(subject.kinds)}
        self._decisions.write(
            tx,
            kind,
            actor,
            subjects=dict.fromkeys([subject.subject_id, subject.holder_id]),
            facts={"last_reviewed_by": subject.review.reviewed_by, **facts},
        )

    def _tell(self, tx: Connection, event: str, subject: Reviewed) -> None:
        ids = Ids(actor=_SERVICE, subject_id=subject.subject_id, due_at=subject.review.lapses_at)
        if subject.holder_id.startswith("person_"):
            ids = replace(ids, person_id=subject.holder_id)
        self._decisions.tell(tx, event, ids)


def _kind(subject_id: str) -> str:
    return subject_id.partition("_")[0]


def _is_over(subject: Reviewed, now: datetime) -> bool:
    return now >= subject.review.lapses_at or (subject.expires_at is not None and now >= subject.expires_at)

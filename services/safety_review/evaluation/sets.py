"""Evaluation sets: made of what two people upheld and of nothing else, named by nobody, sealed, ended at their end.

Whose record became which item is written nowhere: the items are shuffled by lot, an item holds a category and texts, and neither a table
nor an entry joins the two. That is why an item cannot be found again when somebody is erased, and why a set has a short term of its own.
"""

import hashlib
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from typing import Final

from kept.access_control.v1 import evaluation_keys_pb2, evaluation_keys_pb2_grpc
from kept.settings.v1 import identifiers_pb2, identifiers_pb2_grpc
from services.safety_review import notices
from services.safety_review.detection.texts import texts_of
from services.safety_review.evaluation.masked_texts import MaskedText, MaskedTexts, RecordOfCase
from services.safety_review.evaluation.scrubbing import Identifiers, Scrubber, says_something
from services.safety_review.evaluation.sealing import Item, seal
from services.safety_review.store import Tx, erasures
from services.safety_review.store import evaluation as store
from services.safety_review.store.evaluation import EvaluationSet, Upheld
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, peer_unavailable
from shared.ids import new_id
from shared.jobs import Attempts
from shared.outbox import Outbox

_ASKED_AT_ONCE: Final = 1_000
_ENDED_AT_ONCE: Final = 20


class EvaluationSets:
    """The acts. needed: so many organizations have to be behind each category."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        keys: evaluation_keys_pb2_grpc.EvaluationKeyServiceStub,
        identifiers: identifiers_pb2_grpc.IdentifierServiceStub,
        masked_texts: MaskedTexts,
        needed: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._keys = keys
        self._identifiers = identifiers
        self._masked_texts = masked_texts
        self._needed = needed

    def build(
        self, person_id: str, request_id: str, term: timedelta, grant_ids: Iterable[str]
    ) -> EvaluationSet:
        """Makes a set of what these grants of that person are for, all or nothing. Raises NOT_UPHELD, SET_TOO_SMALL, INVALID_ARGUMENT for
        more than a set takes; REQUEST_ID_REUSED for another person's id; and what reading under a grant raises."""
        with self._database.transaction() as tx:
            done = store.find_request(tx, request_id)
        if done is not None:
            if done.built_by != person_id:
                raise _reused()
            return done
        records = self._masked_texts.under(person_id, grant_ids)
        with self._database.transaction() as tx:
            upheld = _upheld(tx, records)
        # What was only counted says nothing about its text: it is left out.
        texts = {one: found for one, found in upheld.items() if found.is_text}
        items, categories, removed = self._cleaned(records, texts)
        if not items:
            raise KeptError(
                Reason.REASON_SET_TOO_SMALL,
                "Every category has too few organizations behind it.",
                metadata={"needed": str(self._needed)},
            )
        secrets.SystemRandom().shuffle(items)
        return self._store(person_id, request_id, term, records, items, categories, removed)

    def _cleaned(
        self, records: Mapping[RecordOfCase, MaskedText], texts: Mapping[RecordOfCase, Upheld]
    ) -> tuple[list[Item], dict[str, int], dict[str, int]]:
        """What may be kept of these records, how many items of each category, 0 for one that is withheld, and how many pieces were taken
        out of the items, by kind."""
        scrubber = Scrubber(self._named({found.key.organization_id for found in texts.values()}))
        items: list[Item] = []
        categories: dict[str, int] = {}
        removed: Counter[str] = Counter()
        for category in sorted({found.category for found in texts.values()}):
            before = Counter(scrubber.removed)
            # By organization: one of which nothing can be read any more is behind nothing.
            behind: defaultdict[str, list[Item]] = defaultdict(list)
            for one, found in texts.items():
                if found.category == category:
                    clean = tuple(map(scrubber.scrub, texts_of(records[one].content).parts))
                    if any(map(says_something, clean)):
                        behind[found.key.organization_id].append(Item(category, clean))
            categories[category] = 0
            if len(behind) >= self._needed:
                kept = list(chain.from_iterable(behind.values()))
                items += kept
                categories[category] = len(kept)
                removed += scrubber.removed - before
        return items, categories, dict(removed)

    def _store(
        self,
        person_id: str,
        request_id: str,
        term: timedelta,
        records: Mapping[RecordOfCase, MaskedText],
        items: Sequence[Item],
        categories: dict[str, int],
        removed: dict[str, int],
    ) -> EvaluationSet:
        now = self._clock.now()
        set_id, ends_at = new_id("evalset"), now + term
        making = evaluation_keys_pb2.MakeEvaluationKeyRequest(set_id=set_id, person_id=person_id)
        making.ends_at.FromDatetime(ends_at)
        key = self._keys.MakeEvaluationKey(making).key
        sealed = [seal(key, set_id, place, item) for place, item in enumerate(items)]
        digest = hashlib.sha256()
        for one in sealed:
            digest.update(one)
        made = EvaluationSet(
            set_id,
            request_id,
            person_id,
            now,
            ends_at,
            self._needed,
            categories,
            removed,
            digest.digest(),
        )
        with self._database.transaction() as tx:
            _upheld(tx, records)  # still: nothing of what was erased or opened again meanwhile is kept
            if not store.add(tx, made, sealed):
                raise _reused()
            self._outbox.audit(
                tx,
                audit.entry(
                    "evaluation_set.built",
                    actor=person_id,
                    at=now,
                    subjects=[set_id],  # and not of which cases: that would lead back
                    facts={
                        "items": made.items,
                        "categories": " ".join(name for name, items in categories.items() if items),
                        "withheld": sum(not items for items in categories.values()),
                        "ends_at": ends_at.isoformat(),
                    },
                ),
            )
        return made

    def list_page(self, before: int, limit: int) -> list[EvaluationSet]:
        """Sets, newest first, below that number."""
        with self._database.transaction() as tx:
            return store.page(tx, before, limit)

    def delete(self, person_id: str, set_id: str) -> EvaluationSet:
        """Ends a set before its term; one that has ended stays as it is. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            found = store.find(tx, set_id)
        if found is None:
            raise not_found("evaluation set")
        return found if found.ended_at is not None else self._end(person_id, set_id)

    def sweep(self) -> bool:
        """Ends sets whose term is over. True when there may be more."""
        with self._database.transaction() as tx:
            ending = store.over(tx, self._clock.now(), _ENDED_AT_ONCE)
        attempts = Attempts()
        for set_id in ending:
            with attempts.attempt():
                self._end(notices.SERVICE, set_id)
        attempts.raise_first()
        return len(ending) == _ENDED_AT_ONCE

    def _end(self, actor: str, set_id: str) -> EvaluationSet:
        # The key first: without it nothing is left to read, whatever happens next.
        self._keys.DestroyEvaluationKey(evaluation_keys_pb2.DestroyEvaluationKeyRequest(set_id=set_id))
        with self._database.transaction() as tx:
            found = store.find(tx, set_id, lock=True)
            assert found is not None  # sets are never removed
            if found.ended_at is None:
                now = self._clock.now()
                store.end(tx, set_id, now)
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "evaluation_set.ended",
                        actor=actor,
                        at=now,
                        subjects=[set_id],
                        facts={"items": found.items},
                    ),
                )
            ended = store.find(tx, set_id)
        assert ended is not None
        return ended

    def _named(self, organization_ids: set[str]) -> Identifiers:
        names: list[str] = []
        emails: list[str] = []
        people: list[tuple[str, str]] = []
        wanted = sorted(organization_ids)
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            answer = self._identifiers.ListIdentifiers(
                identifiers_pb2.ListIdentifiersRequest(
                    organization_ids=wanted[start : start + _ASKED_AT_ONCE]
                )
            )
            names += answer.organization_names
            emails += answer.emails
            people += ((person.first_name, person.last_name) for person in answer.people)
        return Identifiers(tuple(names), tuple(emails), tuple(people))


def _upheld(tx: Tx, records: Mapping[RecordOfCase, MaskedText]) -> Mapping[RecordOfCase, Upheld]:
    """What is known of these records, all of them of upheld cases of organizations that are not erased, until the transaction ends.
    Raises NOT_UPHELD; PEER_UNAVAILABLE where logging speaks of a record as somebody else's."""
    closed = erasures.stay_inside(tx, {one.organization_id for one in records.values()})
    upheld = store.upheld(tx, records.keys())
    if any(records[one].organization_id != found.key.organization_id for one, found in upheld.items()):
        raise peer_unavailable("logging")
    missing = sum(one not in upheld or text.organization_id in closed for one, text in records.items())
    if missing:
        raise KeptError(
            Reason.REASON_NOT_UPHELD,
            "Only records of cases that two people upheld may be kept.",
            metadata={"records": str(missing)},
        )
    return upheld


def _reused() -> KeptError:
    return KeptError(
        Reason.REASON_REQUEST_ID_REUSED, "This request id came before from somebody else; use a new one."
    )

"""The end of a case: it goes when nothing keeps it any more, and access control forgets its records. The end of an organization: its
verdicts go at once, and with them what no hold keeps. And of single records, those of an end user: what logging has removed and no hold
keeps goes from here too.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from services.safety_review import notices
from services.safety_review.detection.screening import REPEATABLE
from services.safety_review.reviewing.cases import DISMISSED, UPHELD
from services.safety_review.store import Tx, ended_cases, erased_records, erasures
from services.safety_review.store.ended_cases import Ended
from services.safety_review.store.erased_records import RecordErasure
from services.safety_review.store.erasures import Erasure
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.identity import Caller
from shared.ids import lowest_record_id
from shared.jobs import Attempts
from shared.outbox import Outbox

_SWEPT_AT_ONCE: Final = 20
# Of one organization: a case has up to ten thousand flags.
_CASES_AT_ONCE: Final = 10


def screenable_from(now: datetime) -> bytes:
    """The lowest id of a record that can still be handed over; older ones need no tombstone."""
    return lowest_record_id(now - REPEATABLE)


class Lifecycle:
    """Erases organizations and single records."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox

    def erase(self, caller: Caller, organization_id: str, erasure_id: str) -> Erasure:
        """Removes what is known about an organization but for cases that a hold keeps; from then on nothing is stored about it. A
        repetition removes what nothing keeps any more, and returns the first receipt with what is kept now."""
        with self._database.transaction() as tx:
            return self.erase_in(tx, caller.actor, organization_id, erasure_id)

    def erase_in(self, tx: Tx, actor: str, organization_id: str, erasure_id: str) -> Erasure:
        """The same, in the caller's transaction."""
        erasures.close(tx, organization_id)
        now = self._clock.now()
        ended = erasures.remove(tx, organization_id, now)
        kept = erasures.count_cases(tx, organization_id)
        done = erasures.find(tx, organization_id)
        if done is not None:
            self._tell(tx, organization_id, ended, now)
            return replace(done, kept=kept)
        self._forget(tx, ended)
        erasure = Erasure(organization_id, erasure_id, now, ended.removed, kept)
        erasures.add(tx, erasure)
        self._outbox.audit(
            tx,
            audit.entry(
                "organization.erased",
                actor=actor,
                at=now,
                organization_id=organization_id,
                subjects=[organization_id, erasure_id],
                facts={**ended.removed, "kept": kept},
            ),
        )
        return erasure

    def erase_records(
        self, caller: Caller, organization_id: str, erasure_id: str, record_ids: Collection[bytes]
    ) -> RecordErasure:
        """Removes what is known about records and stores nothing about them from then on. The receipt of the erasure so far; a repetition
        adds nothing to it."""
        now = self._clock.now()
        screenable = screenable_from(now)
        with self._database.transaction() as tx:
            erasures.close(tx, organization_id)
            done = erased_records.remove(tx, organization_id, record_ids, now)
            erased_records.bury(tx, organization_id, [one for one in record_ids if one >= screenable])
            if not any(done.removed.values()):
                return erased_records.noted(tx, erasure_id) or RecordErasure(now)
            self._outbox.audit(
                tx,
                audit.entry(
                    "records.erased",
                    actor=caller.actor,
                    at=now,
                    organization_id=organization_id,
                    # Not which: the log outlives the records, and would tell for ever whose they were.
                    subjects=[erasure_id],
                    facts=done.removed,
                ),
            )
            return erased_records.note(tx, erasure_id, organization_id, done)

    def sweep(self) -> bool:
        """Removes cases that nothing keeps any more (store.ended_cases). True when there may be more."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            organization_ids = ended_cases.organizations(tx, now, _SWEPT_AT_ONCE)
        attempts, more = Attempts(), len(organization_ids) == _SWEPT_AT_ONCE
        for organization_id in organization_ids:
            with attempts.attempt(), self._database.transaction() as tx:
                is_erased = bool(erasures.stay_inside(tx, [organization_id]))
                ended = ended_cases.remove(tx, organization_id, now, is_erased=is_erased, most=_CASES_AT_ONCE)
                self._tell(tx, organization_id, ended, now)
                more = more or len(ended.cases) == _CASES_AT_ONCE
        attempts.raise_first()
        return more

    def _tell(self, tx: Tx, organization_id: str, ended: Ended, at: datetime) -> None:
        """at: when nothing kept them; by it the replay removes the same ones (services.safety_review.replay)."""
        if not ended.cases:  # another replica may have been first
            return
        self._forget(tx, ended)
        self._outbox.audit(
            tx,
            audit.entry(
                "cases.erased",
                actor=notices.SERVICE,
                at=at,
                subjects=[organization_id],
                facts=ended.removed,
            ),
        )

    def _forget(self, tx: Tx, ended: Ended) -> None:
        """Has access control forget which records were in the cases; one that was still open ends its grants."""
        for case in ended.cases:
            if case.state not in (
                UPHELD,
                DISMISSED,
            ):  # before its records: a case without any never admits a grant
                self._outbox.put(tx, notices.CASE, notices.close_case(case.case_id, upheld=False))
            self._outbox.put(tx, notices.CASE, notices.open_case(case.case_id, case.organization_id))

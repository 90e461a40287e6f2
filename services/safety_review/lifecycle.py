"""The end of an organization: its verdicts and dismissed cases go at once, what a hold keeps goes with its hold. And of single records,
those of an end user: what logging has removed and no hold keeps goes from here too.
"""

from collections.abc import Collection
from datetime import datetime

from services.safety_review import notices
from services.safety_review.detection.screening import REPEATABLE
from services.safety_review.store import Tx, erased_records, erasures
from services.safety_review.store.erased_records import RecordErasure
from services.safety_review.store.erasures import Erasure
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.identity import Caller
from shared.ids import lowest_record_id
from shared.jobs import Attempts
from shared.outbox import Outbox

_SWEPT_AT_ONCE = 20


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
        """Removes what is known about an organization but for cases that are open, or upheld and held; from then on nothing is stored
        about it. A repetition returns the first receipt."""
        with self._database.transaction() as tx:
            return self.erase_in(tx, caller.actor, organization_id, erasure_id)

    def erase_in(self, tx: Tx, actor: str, organization_id: str, erasure_id: str) -> Erasure:
        """The same, in the caller's transaction."""
        erasures.close(tx, organization_id)
        done = erasures.find(tx, organization_id)
        if done is not None:
            return done
        now = self._clock.now()
        removed = erasures.remove(tx, organization_id, now)
        erasure = Erasure(
            organization_id, erasure_id, now, removed, erasures.count_cases(tx, organization_id)
        )
        erasures.add(tx, erasure)
        self._outbox.audit(
            tx,
            audit.entry(
                "organization.erased",
                actor=actor,
                at=now,
                organization_id=organization_id,
                subjects=[organization_id, erasure_id],
                facts={**removed, "kept": erasure.kept},
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
        """Removes cases of erased organizations that were dismissed, or whose last hold has ended, since. True when there may be
        more."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            organization_ids = erasures.with_leftovers(tx, now, _SWEPT_AT_ONCE)
        attempts = Attempts()
        for organization_id in organization_ids:
            with attempts.attempt(), self._database.transaction() as tx:
                erasures.close(tx, organization_id)
                removed = erasures.remove(tx, organization_id, now)
                if any(removed.values()):  # another replica may have been first
                    self._outbox.audit(
                        tx,
                        audit.entry(
                            "cases.erased",
                            actor=notices.SERVICE,
                            at=now,
                            subjects=[organization_id],
                            facts=removed,
                        ),
                    )
        attempts.raise_first()
        return len(organization_ids) == _SWEPT_AT_ONCE

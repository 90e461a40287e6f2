"""The end of an organization: its verdicts and dismissed cases go at once, what a hold keeps goes with its hold."""

from services.safety_review import notices
from services.safety_review.store import erasures
from services.safety_review.store.erasures import Erasure
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.identity import Caller
from shared.outbox import Outbox

_SWEPT_AT_ONCE = 20


class Lifecycle:
    """Erases organizations."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox

    def erase(self, caller: Caller, organization_id: str, erasure_id: str) -> Erasure:
        """Removes what is known about an organization but for cases that are open, or upheld and held; from then on nothing is stored
        about it. A repetition returns the first receipt."""
        with self._database.transaction() as tx:
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
                    actor=caller.actor,
                    at=now,
                    organization_id=organization_id,
                    subjects=[organization_id, erasure_id],
                    facts={**removed, "kept": erasure.kept},
                ),
            )
            return erasure

    def sweep(self) -> bool:
        """Removes cases of erased organizations that were dismissed, or whose last hold has ended, since. True when there may be
        more."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            organization_ids = erasures.with_leftovers(tx, now, _SWEPT_AT_ONCE)
        for organization_id in organization_ids:
            with self._database.transaction() as tx:
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
        return len(organization_ids) == _SWEPT_AT_ONCE

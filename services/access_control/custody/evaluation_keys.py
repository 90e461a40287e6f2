"""Keys of evaluation sets. A set's key hangs on the ladder where a hold's does, so it is wrapped again with each new root and destroyed
with one; it opens nothing from the set's end on, whether safety review has asked for its destruction by then or not.
"""

from datetime import datetime, timedelta
from typing import Final

from services.access_control.audit.decision_log import DecisionLog
from services.access_control.custody import Custody
from services.access_control.store import Connection
from services.access_control.store import evaluation_keys as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, not_found, wrong_state
from shared.jobs import Job

_LONGEST: Final = timedelta(days=366)
_SWEPT_AT_ONCE: Final = 20


def set_ended() -> KeptError:
    """The set's key opens nothing any more."""
    return KeptError(Reason.REASON_SET_ENDED, "The evaluation set has ended; its key is gone.")


class EvaluationKeys:
    """The acts of safety review, each in the audit log before it is answered. job: ends what is over, to be put among the service's."""

    def __init__(self, database: Database, clock: Clock, custody: Custody, decisions: DecisionLog) -> None:
        self._database = database
        self._clock = clock
        self._custody = custody
        self._decisions = decisions
        self.job = Job("evaluation_keys", timedelta(minutes=10), self.sweep)

    def make(self, set_id: str, ends_at: datetime, person_id: str) -> bytes:
        """The key of a new set, or the one it has. Raises INVALID_ARGUMENT, WRONG_STATE."""
        now = self._clock.now()
        if not now < ends_at <= now + _LONGEST:
            raise invalid("ends_at", "is not within 366 days from now")
        with self._database.transaction() as tx:
            store.add(tx, set_id, ends_at)
            if store.ends_at(tx, set_id) != ends_at:
                raise wrong_state("The set has another end.", "made")
            key = self._custody.key_in_place_of_a_hold(tx, set_id)
            self._write(tx, "evaluation_key.made", set_id, person_id, {"ends_at": ends_at.isoformat()})
            return key

    def open(self, set_id: str, person_id: str) -> bytes:
        """The key for a person's evaluation. Raises NOT_FOUND, SET_ENDED."""
        with self._database.transaction() as tx:
            ends_at = store.ends_at(tx, set_id)
            if ends_at is None:
                raise not_found("evaluation set")
            if self._clock.now() >= ends_at:
                raise set_ended()
            key = self._custody.key_in_place_of_a_hold(tx, set_id)
            self._write(tx, "evaluation_key.opened", set_id, person_id, {})
            return key

    def destroy(self, set_id: str) -> None:
        """Ends the key and begins its destruction, which goes on by itself until the root is gone that it hung on."""
        with self._database.transaction() as tx:
            store.end(tx, set_id, self._clock.now())
        self._custody.release(set_id)

    def sweep(self) -> bool:
        """Begins the destruction of keys whose end has come, whether safety review asks for it or not. True when there are more."""
        with self._database.transaction() as tx:
            over = store.over(tx, self._clock.now(), _SWEPT_AT_ONCE)
        for set_id in over:
            self._custody.release(set_id)
        return len(over) == _SWEPT_AT_ONCE

    def _write(self, tx: Connection, kind: str, set_id: str, person_id: str, facts: dict[str, str]) -> None:
        self._decisions.write(tx, kind, person_id, subjects=[set_id], facts=facts)

"""Holds that would end while their case is undecided, or may still be appealed, are extended. Those of an erased organization end when they
were to end, and their cases with them."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from services.safety_review import notices
from services.safety_review.reviewing.cases import APPEAL_FOR
from services.safety_review.store import cases as store
from shared.clock import Clock
from shared.database import Database
from shared.outbox import Outbox

# How long before its end: an outage of some days loses no hold.
AHEAD: Final = timedelta(days=7)
_AT_ONCE: Final = 500


class HoldExtensions:
    """The job.

    hold_for: after that the hold of a record ends by itself; where that is short, a hold is extended in its second half.
    """

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, hold_for: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._ahead = min(AHEAD, hold_for / 2)

    def step(self) -> bool:
        """Puts the end of such holds off by as long as a customer may appeal: of an upheld case that is enough, however late it was
        decided. One that is past counts from now; retention refuses it where the hold is over. True when there may be more."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            ending = store.held_undecided(tx, now, now + self._ahead, _AT_ONCE)
            for flag in ending:
                extended = replace(flag, hold_ends_at=max(flag.hold_ends_at, now) + APPEAL_FOR)
                store.hold_again(tx, extended)
                message = notices.extend_hold(flag.hold_request_id, flag.case_id, extended.hold_ends_at)
                self._outbox.put(tx, notices.EXTENSION, message)
        return len(ending) == _AT_ONCE

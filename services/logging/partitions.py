"""Keeps a partition ready for every day that records may belong to: ahead of time by a job, and on demand."""

import threading
from datetime import date, timedelta
from typing import Final

from services.logging.recording.admission import LATE_WINDOW
from services.logging.store import partitions as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job

# Each try waits for its locks a quarter of a second at most.
_TRIES: Final = 8


class Partitions:
    """The partitions of the days around now. days_ahead: how many days beyond today are made ahead."""

    def __init__(self, database: Database, clock: Clock, *, days_ahead: int) -> None:
        self._database = database
        self._clock = clock
        self._days_ahead = days_ahead
        self._lock = threading.Lock()
        self._known: set[date] = set()
        self.job = Job("partitions", timedelta(minutes=1), self.make_ahead)

    def require(self, days: set[date]) -> None:
        """Makes sure that these days have their partitions, unless they are closed. Raises DATABASE_UNAVAILABLE."""
        for day in sorted(days - self._known):
            self._make(day)

    def make_ahead(self) -> bool:
        """Makes the partitions of the late window, today and the days ahead. A job's step: never more at once."""
        now = self._clock.now()
        first, last = (now - LATE_WINDOW).date(), now.date() + timedelta(days=self._days_ahead)
        with self._lock:
            # What is past the late window is not asked for again; forget it, so that the set stays small.
            self._known = {day for day in self._known if day >= first}
        self.require({first + timedelta(days=index) for index in range((last - first).days + 1)})
        return False

    def _make(self, day: date) -> None:
        for remaining in reversed(range(_TRIES)):
            try:
                with self._database.transaction() as tx:
                    made = store.make(tx, day)
            except KeptError as error:
                if error.reason != Reason.REASON_DATABASE_UNAVAILABLE or not remaining:
                    raise
                continue
            if made:
                with self._lock:
                    self._known.add(day)
            return

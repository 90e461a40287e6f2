"""What an operator wants to see of all that is stored: the oldest record that nothing holds, and what waits for screening."""

from datetime import UTC, datetime, time, timedelta
from typing import Final

from prometheus_client import Gauge

from services.logging.store import retention, screening
from shared.database import Database
from shared.jobs import Job

_EVERY: Final = timedelta(seconds=30)
# More is no more of an alarm, and counting it would be work.
_MOST: Final = 1_000_000
_OLDEST: Final = Gauge(
    "kept_oldest_unheld_record_timestamp_seconds",
    "Begin of the oldest day of which there are records that nothing holds (Unix time); 0 without one.",
)
_HELD: Final = Gauge("kept_held_records", "Records that exist for holds alone.")
_BACKLOG: Final = Gauge(
    "kept_screening_backlog_records", f"Records that wait to be screened; {_MOST} stands for more."
)
_WAITING: Final = Gauge(
    "kept_screening_oldest_waiting_timestamp_seconds",
    "When the record was received that waits longest for screening (Unix time); 0 without one.",
)


class StoredFigures:
    """The job that takes them. Every process takes the same: a dashboard shows the largest."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.job = Job("stored_figures", _EVERY, self.take)

    def take(self) -> bool:
        """The job's step."""
        with self._database.transaction() as tx:
            oldest = retention.oldest_unheld_day(tx)
            held = retention.held_beyond_their_day(tx)
            waiting, since = screening.backlog(tx, _MOST)
        _OLDEST.set(0 if oldest is None else datetime.combine(oldest, time(), UTC).timestamp())
        _HELD.set(held)
        _BACKLOG.set(waiting)
        _WAITING.set(0 if since is None else since.timestamp())
        return False

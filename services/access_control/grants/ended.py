"""Grants as they change, for streams: a heartbeat with those that ended, and one grant until it is over.

All streams of a process share one poll of the database every quarter of a second: whoever finds the last answer too old asks again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final, Generic, TypeVar

from services.access_control.grants.acts import View
from services.access_control.grants.granting import Granting
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.identity import Caller

# Half a heartbeat late is no harm; a second of silence ends the receiver's streams.
HEARTBEAT: Final = timedelta(milliseconds=250)
# On its first heartbeat a receiver learns of everything that ended within this time.
LOOK_BACK: Final = timedelta(hours=1)

T = TypeVar("T")


class SharedPoll(Generic[T]):
    """An answer that is asked for at most once in an interval, whatever number of threads wants it.

    Waiting here is for the wire, so it is measured on the machine's own monotonic clock and never travels.
    """

    def __init__(self, ask: Callable[[], T], interval: timedelta) -> None:
        self._ask = ask
        self._interval = interval.total_seconds()
        self._lock = threading.Lock()
        self._answer: tuple[float, T] | None = None

    def get(self) -> T:
        """The answer, no older than the interval. Raises what asking raises, to everybody who waited for it in turn."""
        with self._lock:
            now = time.monotonic()
            if self._answer is None or now - self._answer[0] >= self._interval:
                self._answer = (now, self._ask())
            return self._answer[1]


def _wait(is_active: Callable[[], bool], interval: timedelta) -> bool:
    """Waits; whether the stream is still wanted after it."""
    if is_active():
        threading.Event().wait(interval.total_seconds())
    return is_active()


class EndedGrants:
    """Tells receivers which grants ended before their time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._poll = SharedPoll(self._ask, HEARTBEAT * 0.8)

    def _ask(self) -> frozenset[str]:
        # Always the whole hour, never "since the last": a revocation whose transaction was slow to commit would be skipped.
        with self._database.transaction() as tx:
            return store.revoked_since(tx, self._clock.now() - LOOK_BACK)

    def heartbeats(self, is_active: Callable[[], bool]) -> Iterator[list[str]]:
        """What ended since the heartbeat before, in order of id, every 250 ms; on the first, all of the last hour. A database that cannot
        be reached ends the stream: silence is what receivers act on."""
        sent: frozenset[str] = frozenset()
        while True:
            ended = self._poll.get()
            yield sorted(ended - sent)
            sent = ended
            if not _wait(is_active, HEARTBEAT):
                return


class GrantWatch:
    """Follows one grant."""

    def __init__(self, granting: Granting, clock: Clock) -> None:
        self._granting = granting
        self._clock = clock

    def views(self, caller: Caller, grant_id: str, is_active: Callable[[], bool]) -> Iterator[View]:
        """The grant now, and again whenever its state or what it waits for changes; ends when it can change no more. Asked again with the
        caller's standing each time. Raises NOT_FOUND."""
        last: tuple[object, ...] | None = None
        while True:
            view = self._granting.get(caller, grant_id)
            seen = (
                view.state,
                view.missing_staff,
                view.missing_customer,
                view.grant.extension,
                view.grant.expires_at,
            )
            if seen != last:
                last = seen
                yield view
            if view.grant.is_over(self._clock.now()) or not _wait(is_active, HEARTBEAT):
                return

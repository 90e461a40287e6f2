"""The receiving side of the leased replica: the whole table in memory, and a lease on its being complete (docs/leases.md).

A lease is counted from the moment the poll was *sent*, on a clock that nobody steps. While it is valid, every change that is in force is
known here, and this process's clock is for certain within the tolerance of the serving side's. When it is not, nothing is decided:
`LEASE_LAPSED`.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from prometheus_client import Gauge

from kept.replica.v1 import lease_pb2
from shared.change_feed import LEASE_DURATION
from shared.clock import CLOCK_TOLERANCE, Clock
from shared.errors import lease_lapsed
from shared.jobs import Job

P = TypeVar("P")
# Seconds that a poll may take. A lease counts from when the poll was sent; one that hangs (a process that is cut off) must leave time for
# another before the last lease is over.
POLL_SECONDS: Final = 0.45 * LEASE_DURATION.total_seconds()
_SENT: Final = Gauge(
    "kept_lease_timestamp_seconds",
    "When the poll was sent whose answer gave the newest lease (Unix time), by feed; 0 without one.",
    ["feed"],
)


@dataclass(frozen=True)
class ReceivedChange(Generic[P]):
    """A change as it came: the subject's whole policy from `effective_at` on."""

    version: int
    subject: str
    effective_at: datetime
    policy: P


@dataclass(frozen=True)
class _Lease:
    """What a complete answer gives. until, sent, received: on boottime. generation: of the clock. answered_at: what the serving clock was
    at some point between the two."""

    until: float
    generation: int
    sent: float
    received: float
    answered_at: datetime

    def is_good(self, now: datetime, boottime: float, generation: int) -> bool:
        """Whether it is not over, and `now` within the tolerance of whatever the serving clock may show: nobody knows when on its way the
        answer was given. A clock that was stepped after it is caught as one that was wrong before."""
        if boottime >= self.until or generation != self.generation:
            return False
        at_least = self.answered_at + timedelta(seconds=boottime - self.received)
        at_most = self.answered_at + timedelta(seconds=boottime - self.sent)
        return at_most - CLOCK_TOLERANCE <= now <= at_least + CLOCK_TOLERANCE


class Replica(Generic[P]):
    """A leased replica of a feed.

    poll: asks the serving side for what came after a version. window: how far back in time a question may reach; intervals that ended
    before that are dropped.
    """

    def __init__(
        self,
        name: str,
        poll: Callable[[int], tuple[Sequence[ReceivedChange[P]], lease_pb2.Lease]],
        clock: Clock,
        *,
        window: timedelta,
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._window = window + 2 * CLOCK_TOLERANCE
        self._polling = threading.Lock()
        self._version = 0
        # Replaced as a whole on a reset and a subject at a time otherwise; readers never see half a change.
        self._table: dict[str, tuple[tuple[datetime, P], ...]] = {}
        self._rebuilding: dict[str, tuple[tuple[datetime, P], ...]] | None = None
        self._lease: _Lease | None = None
        self._sent_at = _SENT.labels(name)
        self.job = Job(f"replica:{name}", LEASE_DURATION / 4, self.poll_once)

    def poll_once(self) -> bool:
        """Asks once and takes over what comes. True when there is more to fetch. Raises what the call raises."""
        with self._polling:
            # The generation is read first: a clock that travels in between makes the lease void, never valid by mistake.
            generation = self._clock.generation()
            sent = self._clock.boottime()
            changes, lease = self._poll(self._version)
            received, received_at = self._clock.boottime(), self._clock.now()
            if lease.reset:
                self._rebuilding = {}
            target = self._table if self._rebuilding is None else self._rebuilding
            oldest = received_at - self._window
            for change in changes:
                known = target.get(change.subject, ())
                target[change.subject] = _pruned((*known, (change.effective_at, change.policy)), oldest)
            self._version = lease.version
            if not lease.complete:
                return True
            if self._rebuilding is not None:
                self._table, self._rebuilding = self._rebuilding, None
            until = sent + lease.duration.ToTimedelta().total_seconds()
            answered_at = lease.answered_at.ToDatetime(tzinfo=received_at.tzinfo)
            self._lease = _Lease(until, generation, sent, received, answered_at)
            self._sent_at.set(received_at.timestamp() - (received - sent))
            return False

    def has_lease(self) -> bool:
        """Whether everything that is in force now is known here."""
        return self._is_leased(self._clock.now())

    def leased_now(self) -> datetime:
        """The instant, by a clock that may be trusted with it. Raises LEASE_LAPSED unless everything that is in force now is known here."""
        now = self._clock.now()
        if not self._is_leased(now):
            raise lease_lapsed()
        return now

    def require_lease(self) -> None:
        """Raises LEASE_LAPSED unless everything that is in force now is known here."""
        self.leased_now()

    def _is_leased(self, now: datetime) -> bool:
        """now: read before this; the lease that is good after that was good then."""
        lease = self._lease
        return lease is not None and lease.is_good(now, self._clock.boottime(), self._clock.generation())

    def throughout(self, subject: str, start: datetime, end: datetime) -> list[P | None]:
        """Every policy of the subject that was in force at some instant of [start, end], oldest first; None for a time in which
        there was none. Says nothing about the lease: call `require_lease` first."""
        intervals = self._table.get(subject, ())
        if intervals and intervals[-1][0] <= start <= end:  # as almost always: the last one counts all along
            return [intervals[-1][1]]
        found: list[P | None] = []
        if not intervals or intervals[0][0] > start:
            found.append(None)
        for index, (begins, policy) in enumerate(intervals):
            ends = intervals[index + 1][0] if index + 1 < len(intervals) else None
            if begins <= end and (ends is None or ends > start) and ends != begins:
                found.append(policy)
        return found

    def at(self, subject: str, instant: datetime) -> P | None:
        """The policy in force at an instant, or None."""
        current: P | None = None
        for begins, policy in self._table.get(subject, ()):
            if begins <= instant:
                current = policy
        return current

    def is_known(self, subject: str) -> bool:
        """Whether there is a subject of this name, now or soon. Nothing that was told is taken back, so True needs no lease. Raises
        LEASE_LAPSED where it may be that nobody has told us yet."""
        if subject in self._table:
            return True
        self.require_lease()
        return subject in self._table  # what came in between

    def subjects(self) -> list[str]:
        """All subjects that are known."""
        return sorted(self._table)


def _pruned(intervals: tuple[tuple[datetime, P], ...], oldest: datetime) -> tuple[tuple[datetime, P], ...]:
    keep = 0
    while keep + 1 < len(intervals) and intervals[keep + 1][0] <= oldest:
        keep += 1
    return intervals[keep:]

"""An outbox for receivers that are not ours: each message is tried by itself, ever more rarely, and none waits for another.

At least once, in no order. A claim outlives a process that dies by the timeout and six seconds; see `shared.outbox.ordered`.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, Row, Table, delete, func, insert, or_, select, update

from shared.clock import CLOCK_TOLERANCE, Clock
from shared.database import Database, after_commit
from shared.errors import KeptError
from shared.jobs import Job
from shared.outbox.table import Figures
from shared.redaction import where

_BATCH: Final = 50
# Seconds: tries begin this long after the claim at the latest.
_BEGIN_WITHIN: Final = 4.0
_log = structlog.get_logger(__name__)


class Undelivered(Exception):
    """A try that failed. reason: a word or two for the table and for logs, free of content. retry_after: what the receiver asked for.
    stop: it takes nothing more for now; what is claimed and not tried yet is given back."""

    def __init__(self, reason: str, *, retry_after: timedelta = timedelta(0), stop: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.stop = stop


@dataclass(frozen=True)
class Schedule:
    """waits: after the first failed try, after the second, and so on; each is lengthened by up to a tenth, differently for each message,
    so that what failed together does not come back together. What fails after the last wait is put aside: it counts as refused, and
    is tried again at the last wait. timeout: no try takes longer."""

    waits: tuple[timedelta, ...]
    timeout: timedelta

    @property
    def longest(self) -> timedelta:
        """No message waits longer."""
        return max(self.waits) * 1.1

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts."""
        return timedelta(seconds=_BEGIN_WITHIN + 2) + self.timeout

    def is_over(self, failures: int) -> bool:
        """Whether so many failed tries are all there were to be."""
        return failures > len(self.waits)

    def wait(self, message_id: int, failures: int, retry_after: timedelta) -> timedelta:
        """How long a message waits after its n-th failed try: as the receiver asked, where that is longer."""
        wait = self.waits[min(failures, len(self.waits)) - 1]
        spread = zlib.crc32(f"{message_id}/{failures}".encode()) / 2**32
        return min(self.longest, max(wait * (1 + 0.1 * spread), retry_after))


class ScheduledOutbox:
    """The messages of one kind. send: delivers one payload or raises Undelivered; any other exception counts as a try that failed."""

    def __init__(
        self,
        table: Table,
        database: Database,
        clock: Clock,
        kind: str,
        schedule: Schedule,
        send: Callable[[bytes], None],
    ) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._kind = kind
        self._schedule = schedule
        self._send = send
        self._figures = Figures(table, database, clock, [kind])
        self.job = Job(f"outbox:{kind}", timedelta(milliseconds=500), self.deliver)

    def put(self, tx: Connection, payload: bytes) -> None:
        """Adds a message in the caller's transaction."""
        now = self._clock.now()
        tx.execute(insert(self._table).values(kind=self._kind, payload=payload, put_at=now, not_before=now))
        after_commit(tx, self.job.wake.set)

    def deliver(self) -> bool:
        """Tries what is due, as far as there is time to. True when there is more."""
        until = self._clock.now() + self._schedule.lease
        claimed = self._claim(until)
        left = self._try_each(claimed, until)
        self._figures.take(now=bool(claimed))
        return left or len(claimed) == _BATCH

    def _claim(self, until: datetime) -> Sequence[Row[int, int, bytes]]:
        """What is due and in nobody's hands, what was tried least before the rest."""
        table, now = self._table, self._clock.now()
        with self._database.transaction() as tx:
            if not tx.execute(
                select(func.pg_try_advisory_xact_lock(func.hashtextextended("outbox:" + self._kind, 0)))
            ).scalar_one():
                return []
            # A time that is further ahead than any we set was set before the clock was moved: it counts no more.
            claimed = tx.execute(
                select(table.c.message_id, table.c.attempts, table.c.payload)
                .where(
                    table.c.kind == self._kind,
                    or_(table.c.not_before <= now, table.c.not_before > now + self._schedule.longest),
                    or_(
                        table.c.claimed_until.is_(None),
                        table.c.claimed_until <= now,
                        table.c.claimed_until > until + CLOCK_TOLERANCE,
                    ),
                )
                .order_by(table.c.attempts, table.c.message_id)
                .limit(_BATCH)
            ).all()
            if claimed:
                ids = [row.message_id for row in claimed]
                tx.execute(update(table).where(table.c.message_id.in_(ids)).values(claimed_until=until))
        return claimed

    def _try_each(self, claimed: Sequence[Row[int, int, bytes]], until: datetime) -> bool:
        """Whether some were not tried, and are given back."""
        begin_until = self._clock.boottime() + _BEGIN_WITHIN
        for place, row in enumerate(claimed):
            if self._clock.boottime() > begin_until:
                self._give_back([left.message_id for left in claimed[place:]], until)
                return True
            try:
                self._send(bytes(row.payload))
            except Exception as error:  # noqa: BLE001 - a message that we stumble over must not stop those behind it for ever
                failure = error if isinstance(error, Undelivered) else self._crashed(row.message_id, error)
                self._put_off(row.message_id, row.attempts + 1, failure, until)
                if failure.stop:
                    self._give_back([left.message_id for left in claimed[place + 1 :]], until)
                    return False
            else:
                with self._database.transaction() as tx:
                    tx.execute(delete(self._table).where(self._table.c.message_id == row.message_id))
        return False

    def _crashed(self, message_id: int, error: Exception) -> Undelivered:
        """What a fault of ours counts as. The type is logged; the text may hold data."""
        reason = error.name if isinstance(error, KeptError) else type(error).__name__
        _log.error("outbox.crashed", kind=self._kind, message_id=message_id, error=reason, where=where(error))
        return Undelivered(reason)

    def _put_off(self, message_id: int, failures: int, error: Undelivered, until: datetime) -> None:
        table, schedule = self._table, self._schedule
        is_over = schedule.is_over(failures)
        with self._database.transaction() as tx:
            tx.execute(
                update(table)
                # Where the claim has run out meanwhile, another process has the message: what it does with it is its own.
                .where(table.c.message_id == message_id, table.c.claimed_until == until)
                .values(
                    attempts=failures,
                    not_before=self._clock.now() + schedule.wait(message_id, failures, error.retry_after),
                    claimed_until=None,
                    refused=error.reason if is_over else None,
                )
            )
        if is_over:
            _log.error("outbox.refused", kind=self._kind, message_id=message_id, reason=error.reason)

    def _give_back(self, message_ids: Sequence[int], until: datetime) -> None:
        table = self._table
        with self._database.transaction() as tx:
            tx.execute(
                update(table)
                .where(table.c.message_id.in_(message_ids), table.c.claimed_until == until)
                .values(claimed_until=None)
            )

    def report(self) -> None:
        """Takes the figures without a try."""
        self._figures.take(now=False)

    def is_well(self) -> bool:
        """Whether no receiver refused anything in the table, as of the last look."""
        return self._figures.is_well()

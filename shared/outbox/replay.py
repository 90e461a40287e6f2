"""A service whose database was restored to an older state makes up for it from the audit log, before it serves.

Every act that matters writes its entry into the outbox in its own transaction, so whatever a database knows is, as an entry, either in its
outbox or in the log before the position that it has written down (`outbox.position_table`). An own entry after that position that is not in
the outbox is one that the database does not know: it is older than the log. Then, and until it has taken over what those entries say, the
service refuses everything (CATCHING_UP) and does none of its work.

Positions are given in the order of appending and entries are appended after their acts are committed; so a backup that has written a
position down holds every act before it, whichever process appended it. A service that cannot reach the log when it starts does not know
how old its database is, and waits.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import wraps
from typing import Final

import structlog
from sqlalchemy import Connection, Table, func, select, update

from kept.access_control.v1 import audit_pb2
from shared.audit import entry
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.jobs import Job
from shared.outbox.ordered import Outbox
from shared.outbox.table import reach

_PAGE: Final = 500
_EVERY: Final = timedelta(seconds=30)
# Seconds between two tries that calls make, while the gate is closed.
_RETRY: Final = 1.0
_log = structlog.get_logger(__name__)

# Brings the database to what an entry says, unless it is there already: entries may come again.
Apply = Callable[[Connection, audit_pb2.AuditEntry], None]


class Replay:
    """The gate of a service, and the job that opens it.

    list_own: AuditService.ListOwnEntries. apply: by kind of entry; what is not named there withdraws nothing, and is counted as unknown.
    finish: called once all entries are taken over, before anything is served; repeated after a crash.
    """

    def __init__(
        self,
        service: str,
        positions: Table,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        list_own: Callable[[audit_pb2.ListOwnEntriesRequest], audit_pb2.ListOwnEntriesResponse],
        apply: Mapping[str, Apply],
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._positions = positions
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._list_own = list_own
        self._apply = apply
        self._finish = finish
        self._checking = threading.Lock()
        self._reached: int | None = None  # None: the gate is closed
        self._tried_at: float | None = None
        self.job = Job("replay", _EVERY, self.step)

    def require(self) -> None:
        """Raises CATCHING_UP unless the database is known to be as new as the audit log."""
        if self._reached is not None:
            return
        if self._checking.acquire(blocking=False):
            try:
                now = self._clock.boottime()
                if self._tried_at is None or now - self._tried_at >= _RETRY:
                    self._tried_at = now
                    self._catch_up()
            except KeptError as error:
                _log.warning("replay.waits", reason=error.name)
            finally:
                self._checking.release()
        if self._reached is None:
            raise KeptError(
                Reason.REASON_CATCHING_UP,
                "The service is not sure yet that its database is as new as the audit log.",
                retry_after=timedelta(seconds=1),
            )

    def is_open(self) -> bool:
        """Whether the gate is open, without trying to open it."""
        return self._reached is not None

    def guarding(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs as they may run, only behind the gate; and this one."""
        return [*(Job(job.name, job.interval, self._guarded(job.step), job.wake) for job in jobs), self.job]

    def _guarded(self, step: Callable[[], bool]) -> Callable[[], bool]:
        @wraps(step)
        def guarded() -> bool:
            self.require()
            return step()

        return guarded

    def step(self) -> bool:
        """The job. A database that goes back while the process runs closes the gate again."""
        with self._checking:
            self._catch_up()
        return False

    def _catch_up(self) -> None:
        with self._database.transaction() as tx:
            position, since = self._read(tx)
        if since is not None or (self._reached is not None and position < self._reached):
            self._reached = None
        while True:
            page = self._list_own(audit_pb2.ListOwnEntriesRequest(after_position=position, page_size=_PAGE))
            self._take_over(page)
            position = max(position, page.position)
            if page.complete:
                break
        self._end()
        self._reached = position

    def _take_over(self, page: audit_pb2.ListOwnEntriesResponse) -> None:
        with self._database.transaction() as tx:
            tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("replay", 0))))
            # Read behind the lock and in one statement's snapshot each, the outbox first: what leaves it is behind the position.
            waiting = self._outbox.waiting_entries(tx) if page.entries else set()
            position, since = self._read(tx)
            unknown = [
                own.entry
                for own in page.entries
                if own.position > position and own.entry.entry_id not in waiting
            ]
            if unknown:
                self._reached = None
                applied = 0
                for one in unknown:
                    if (apply := self._apply.get(one.kind)) is not None:
                        apply(tx, one)
                        applied += 1
                self._count(tx, since, applied, len(unknown) - applied)
            if page.position > position:
                reach(tx, self._positions, page.position)

    def _count(self, tx: Connection, since: datetime | None, applied: int, unknown: int) -> None:
        table = self._positions
        reach(tx, table, 0)
        if since is None:
            _log.error("replay.database_is_older_than_the_log")
            tx.execute(update(table).values(replaying_since=self._clock.now(), replayed=0, unknown=0))
        tx.execute(
            update(table).values(replayed=table.c.replayed + applied, unknown=table.c.unknown + unknown)
        )

    def _end(self) -> None:
        """Says that all is taken over, if anything was."""
        with self._database.transaction() as tx:
            _, since = self._read(tx)
        if since is None:
            return
        self._reached = None
        self._finish()
        table = self._positions
        with self._database.transaction() as tx:
            row = tx.execute(
                update(table)
                .where(table.c.replaying_since.is_not(None))
                .values(replaying_since=None)
                .returning(table.c.replayed, table.c.unknown)
            ).one_or_none()
            if row is None:  # another replica was faster
                return
            facts = {"service": self._service, "replayed": row.replayed, "unknown": row.unknown}
            self._outbox.audit(
                tx,
                entry(
                    "database.caught_up",
                    actor=f"service:{self._service}",
                    at=self._clock.now(),
                    facts={**facts, "found_at": since.isoformat()},
                ),
            )
        _log.error("replay.caught_up", **facts)

    def _read(self, tx: Connection) -> tuple[int, datetime | None]:
        row = tx.execute(select(self._positions)).one_or_none()
        return (0, None) if row is None else (row.position, row.replaying_since)

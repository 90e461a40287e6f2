"""The serving side of the leased replica: a table of changes, each in force everywhere from a stated instant on.

The order of steps carries the promise (docs/leases.md). A change takes the feed's lock exclusively, *then* reads the clock, and counts from
`max(now + L, the last change's instant)`. A poll reads under the same lock taken shared, in a statement after it. So a poll that was
answered without a change was sent before the change read its clock, and the lease it gave is over when the change counts.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import sql
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)

from kept.replica.v1 import lease_pb2
from shared.clock import Clock
from shared.database import Database
from shared.driver import last_value

# How long a lease lasts; receivers poll every quarter of it.
LEASE_DURATION = timedelta(seconds=2)


def change_table(metadata: MetaData, name: str) -> Table:
    """The table of a feed, for a service's metadata."""
    return Table(
        name,
        metadata,
        Column("version", BigInteger, primary_key=True),
        Column("subject", Text, nullable=False, index=True),
        Column("payload", LargeBinary, nullable=False),
        Column("effective_at", DateTime(timezone=True), nullable=False),
    )


# The newest version, read by a snapshot that begins when the lock is had.
_NEWEST: Final = sql.SQL(
    "SELECT pg_advisory_xact_lock_shared(hashtextextended({lock}, 0)); SELECT coalesce(max(version), 0) FROM {table}"
)


@dataclass(frozen=True)
class Change:
    """One change as stored. payload: the subject's whole policy from `effective_at` on, serialized."""

    version: int
    subject: str
    payload: bytes
    effective_at: datetime


class ChangeFeed:
    """A feed of changes in a service's database."""

    def __init__(
        self, table: Table, database: Database, clock: Clock, lease: timedelta = LEASE_DURATION
    ) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._lease = lease
        self._lock = "feed:" + table.name
        self._newest = _NEWEST.format(lock=sql.Literal(self._lock), table=sql.Identifier(table.name))

    def append(self, tx: Connection, subject: str, payload: bytes, since: datetime | None = None) -> Change:
        """Adds a change in the caller's transaction, which from here on holds up polls: commit soon. since: from when on it is in force,
        where that is later; or since when it was, for one that this database has forgotten (shared.outbox.replay): no poll is answered
        before all of those are back."""
        table = self._table
        tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(self._lock, 0))))
        last = tx.execute(
            select(func.max(table.c.version).label("version"), func.max(table.c.effective_at).label("at"))
        ).one()
        effective_at = since or self._clock.now() + self._lease
        if (
            last.at is not None and last.at > effective_at
        ):  # the clock was stepped back: order of versions stays order of time
            effective_at = last.at
        change = Change((last.version or 0) + 1, subject, payload, effective_at)
        tx.execute(
            insert(table).values(
                version=change.version, subject=subject, payload=payload, effective_at=effective_at
            )
        )
        return change

    def begin_anew(self, tx: Connection) -> None:
        """Gives all changes new numbers, higher than any that was ever given: whoever has followed this feed before its database was
        restored gets all of it again, and never a new change under the number of one that is gone. Numbers are offset by the time in
        milliseconds, for the same backup may be restored twice."""
        table = self._table
        tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(self._lock, 0))))
        newest = tx.execute(select(func.max(table.c.version))).scalar_one() or 0
        offset = max(int(self._clock.now().timestamp() * 1000), newest)
        tx.execute(update(table).values(version=table.c.version + offset))

    def latest(self, tx: Connection, subject: str) -> Change | None:
        """The newest change of a subject, in force or about to be."""
        table = self._table
        row = tx.execute(
            select(table).where(table.c.subject == subject).order_by(table.c.version.desc()).limit(1)
        ).one_or_none()
        return None if row is None else Change(row.version, row.subject, row.payload, row.effective_at)

    def poll(self, since_version: int, limit: int) -> tuple[list[Change], lease_pb2.Lease]:
        """The answer to a receiver that knows everything up to `since_version`."""
        with self._database.statement() as statement:
            newest = last_value(statement, self._newest)
        changes: list[Change] = []
        if since_version == newest and newest:  # as almost always: nothing new
            known, reset = newest, False
        else:
            known, newest, reset, changes = self._newer(since_version, limit)
        lease = lease_pb2.Lease(version=known, complete=known == newest, reset=reset)
        lease.answered_at.FromDatetime(self._clock.now())
        lease.duration.FromTimedelta(self._lease)
        return changes, lease

    def _newer(self, since_version: int, limit: int) -> tuple[int, int, bool, list[Change]]:
        """What is known after the answer, what there is, whether everything begins anew, and the changes: all under the lock, again."""
        table = self._table
        with self._database.transaction() as tx:
            tx.execute(select(func.pg_advisory_xact_lock_shared(func.hashtextextended(self._lock, 0))))
            oldest, newest = tx.execute(select(func.min(table.c.version), func.max(table.c.version))).one()
            newest = newest or 0
            # A receiver that knows more than there is, or less, has met another past (a restored database): it starts again.
            reset = since_version == 0 or since_version > newest or since_version < (oldest or 0)
            since = 0 if reset else since_version
            rows = tx.execute(
                select(table).where(table.c.version > since).order_by(table.c.version).limit(limit)
            ).all()
        changes = [Change(row.version, row.subject, row.payload, row.effective_at) for row in rows]
        return changes[-1].version if changes else since, newest, reset, changes

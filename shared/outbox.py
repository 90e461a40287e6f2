"""The outbox: what a transaction wants to tell another service, written in that same transaction and delivered after it.

At least once, in order of writing; each handler is idempotent at its receiver (an audit entry's id, a hold's request id), which makes it
exactly once. A message that cannot be delivered stays and holds up nothing of another kind.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from google.protobuf.message import Message
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from kept.access_control.v1 import audit_pb2
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError
from shared.jobs import Job

AUDIT: Final = "audit"
_BATCH: Final = 200
_LONGEST_WAIT: Final = timedelta(seconds=30)


def outbox_table(metadata: MetaData) -> Table:
    """The table, for a service's metadata; `create_outbox` is its migration."""
    return Table(
        "outbox",
        metadata,
        Column("message_id", BigInteger, Identity(always=True), primary_key=True),
        Column("kind", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("not_before", DateTime(timezone=True), nullable=False),
        Index("outbox_by_kind", "kind", "message_id"),
    )


class Outbox:
    """A service's outbox.

    handlers: for each kind, what delivers a list of payloads in order; it raises to have them tried again later. Handlers get whole
    batches of one kind, so that a hundred audit entries are one call.
    """

    def __init__(
        self,
        table: Table,
        database: Database,
        clock: Clock,
        handlers: Mapping[str, Callable[[list[bytes]], None]],
    ) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._handlers = handlers
        self.job = Job("outbox", timedelta(milliseconds=500), self.deliver)

    def put(self, tx: Connection, kind: str, message: Message) -> None:
        """Adds a message in the caller's transaction. Raises KeyError for a kind that nobody handles."""
        self._handlers[kind]
        tx.execute(
            insert(self._table).values(
                kind=kind, payload=message.SerializeToString(), not_before=self._clock.now()
            )
        )
        after_commit(tx, self.job.wake.set)

    def audit(self, tx: Connection, entry: audit_pb2.AuditEntry) -> None:
        """Adds an audit entry in the caller's transaction: if the transaction commits, the entry is on its way to the audit log."""
        self.put(tx, AUDIT, entry)

    def deliver(self) -> bool:
        """Delivers one batch of each kind that is ready. True when there is more. Raises the first failure at the end."""
        more = False
        failure: KeptError | None = None
        for kind in self._handlers:
            try:
                more = self._deliver_kind(kind) or more
            except KeptError as error:
                failure = error
        if failure is not None:
            raise failure
        return more

    def _deliver_kind(self, kind: str) -> bool:
        table = self._table
        with self._database.transaction() as tx:
            # One replica delivers a kind at a time, so that the order holds.
            if not tx.execute(
                select(func.pg_try_advisory_xact_lock(func.hashtextextended("outbox:" + kind, 0)))
            ).scalar_one():
                return False
            rows = tx.execute(
                select(table.c.message_id, table.c.payload, table.c.not_before, table.c.attempts)
                .where(table.c.kind == kind)
                .order_by(table.c.message_id)
                .limit(_BATCH)
            ).all()
            now = self._clock.now()
            # A wait that is longer than any we set was set before the clock was moved: it counts no more.
            if not rows or now < rows[0].not_before <= now + _LONGEST_WAIT:
                return False
            ids = [row.message_id for row in rows]
            try:
                self._handlers[kind]([row.payload for row in rows])
            except KeptError as error:
                wait = min(_LONGEST_WAIT, timedelta(seconds=0.25 * 2 ** min(rows[0].attempts, 10)))
                tx.execute(
                    update(table)
                    .where(table.c.message_id == ids[0])
                    .values(attempts=table.c.attempts + 1, not_before=now + wait)
                )
                failure: KeptError | None = error
            else:
                tx.execute(delete(table).where(table.c.message_id.in_(ids)))
                failure = None
        if failure is not None:
            raise failure
        return len(rows) == _BATCH

    def backlog(self) -> int:
        """Messages that wait."""
        with self._database.transaction() as tx:
            return int(tx.execute(select(func.count()).select_from(self._table)).scalar_one())

"""The outbox's table, and what is measured of it."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import Gauge
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
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
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert

from shared.clock import Clock
from shared.database import Database
from shared.telemetry import ALERT

# How old the figures may be, in seconds.
_INTERVAL: Final = 15.0
_REFUSED: Final = Gauge(
    "kept_outbox_refused_messages", "Messages that their receiver refused for good, by kind.", ["kind"]
)
_OLDEST: Final = Gauge(
    "kept_outbox_oldest_message_timestamp_seconds",
    "When the oldest message that is not delivered was written (Unix time), by kind; 0 without one.",
    ["kind"],
)


def outbox_table(metadata: MetaData) -> Table:
    """The table, for a service's metadata. put_at: when the message was written; claimed_until: a process is delivering it until then;
    refused: the reason for which the receiver refused it."""
    return Table(
        "outbox",
        metadata,
        Column("message_id", BigInteger, Identity(always=True), primary_key=True),
        Column("kind", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("put_at", DateTime(timezone=True), nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("not_before", DateTime(timezone=True), nullable=False),
        Column("claimed_until", DateTime(timezone=True)),
        Column("refused", Text),
        Index("outbox_by_kind", "kind", "message_id"),
        Index("outbox_refused", "kind", postgresql_where=text("refused IS NOT NULL")),
    )


def position_table(metadata: MetaData) -> Table:
    """The table of one row that says how far the audit log is known to this database (shared.outbox.replay).

    position: what the service's own entries up to there tell of is in this database. replaying_since: when it was found that it does not
    know what comes after. replayed, unknown: how many entries it has taken over since then, and how many nothing takes over."""
    return Table(
        "audit_position",
        metadata,
        Column("singleton", Boolean, primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("replaying_since", DateTime(timezone=True)),
        Column("replayed", BigInteger, nullable=False, server_default="0"),
        Column("unknown", BigInteger, nullable=False, server_default="0"),
        CheckConstraint("singleton", name="audit_position_one_row"),
    )


def reach(tx: Connection, positions: Table, position: int) -> None:
    """Writes down that everything up to a position is in this database; a lower one than before changes nothing."""
    made = insert(positions).values(singleton=True, position=position)
    tx.execute(
        made.on_conflict_do_update(
            index_elements=["singleton"],
            set_={"position": func.greatest(positions.c.position, made.excluded.position)},
        )
    )


class Figures:
    """What an outbox holds: for metrics, an alert, and health."""

    def __init__(self, table: Table, database: Database, clock: Clock, kinds: Sequence[str]) -> None:
        self._table = table
        self._database = database
        self._clock = clock
        self._kinds = tuple(kinds)
        self._taken_at: float | None = None
        self._refused = 0

    def take(self, *, now: bool) -> None:
        """Looks, if the last look is too old, or `now` says that something has changed."""
        if not now and self._taken_at is not None and self._clock.boottime() - self._taken_at < _INTERVAL:
            return
        table = self._table
        with self._database.transaction() as tx:
            refused = {
                row.kind: row.messages
                for row in tx.execute(
                    select(table.c.kind, func.count().label("messages"))
                    .where(table.c.refused.is_not(None))
                    .group_by(table.c.kind)
                )
            }
            for kind in self._kinds:
                oldest = tx.execute(
                    select(table.c.put_at).where(table.c.kind == kind).order_by(table.c.message_id).limit(1)
                ).scalar_one_or_none()
                _OLDEST.labels(kind).set(0 if oldest is None else oldest.timestamp())
                _REFUSED.labels(kind).set(refused.get(kind, 0))
        # Every process and every outbox on the table sees the same here, so that none takes another's alert back.
        self._refused = sum(refused.values())
        ALERT.labels("outbox_refused").set(self._refused > 0)
        self._taken_at = self._clock.boottime()

    def is_well(self) -> bool:
        """Whether no receiver refused anything in the table, as of the last look."""
        return self._refused == 0

    def waiting(self) -> int:
        """Messages in the table that are not delivered, those that were put aside included."""
        with self._database.transaction() as tx:
            return int(tx.execute(select(func.count()).select_from(self._table)).scalar_one())

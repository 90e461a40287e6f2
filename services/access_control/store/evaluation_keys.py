"""Table and queries of the ends of evaluation sets' keys; the keys themselves lie among the holds' (`custody.hold_keys`)."""

from datetime import datetime

from sqlalchemy import Column, Connection, DateTime, Table, Text, select, update
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata
from services.access_control.store.custody import hold_keys

evaluation_keys = Table(
    "evaluation_keys",
    metadata,
    Column("set_id", Text, primary_key=True),
    Column("ends_at", DateTime(timezone=True), nullable=False),
)


def add(tx: Connection, set_id: str, ends_at: datetime) -> None:
    """Adds a set's end, unless there is one."""
    tx.execute(insert(evaluation_keys).values(set_id=set_id, ends_at=ends_at).on_conflict_do_nothing())


def ends_at(tx: Connection, set_id: str) -> datetime | None:
    """When a set's key ends."""
    found: datetime | None = tx.execute(
        select(evaluation_keys.c.ends_at).where(evaluation_keys.c.set_id == set_id)
    ).scalar_one_or_none()
    return found


def over(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Sets whose end has come and whose key is still there."""
    rows = tx.execute(
        select(evaluation_keys.c.set_id)
        .join(hold_keys, hold_keys.c.hold_id == evaluation_keys.c.set_id)
        .where(evaluation_keys.c.ends_at <= now, hold_keys.c.wrapped.is_not(None))
        .limit(limit)
    )
    return list(rows.scalars())


def end(tx: Connection, set_id: str, at: datetime) -> None:
    """Ends a set's key before its time, for ever."""
    add(tx, set_id, at)
    tx.execute(
        update(evaluation_keys)
        .where(evaluation_keys.c.set_id == set_id, evaluation_keys.c.ends_at > at)
        .values(ends_at=at)
    )

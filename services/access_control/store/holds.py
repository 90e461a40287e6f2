"""Queries of holds' keys and the records that they keep."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Connection,
    Table,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store.custody import hold_keys, retained_records
from shared.database import among
from shared.driver import execute


@dataclass(frozen=True)
class HoldRow:
    """A hold's key. wrapped is None and released_at set once it is released."""

    hold_id: str
    root_id: str | None
    wrapped: bytes | None
    released_at: datetime | None


@dataclass(frozen=True)
class RetainedRow:
    """A record that a hold keeps, with the hold's key. wrapped is None for a record without content."""

    record_id: bytes
    hold_id: str
    wrapped: bytes | None
    hold_root_id: str
    hold_wrapped: bytes


_HOLD = (hold_keys.c.hold_id, hold_keys.c.root_id, hold_keys.c.wrapped, hold_keys.c.released_at)


def add_hold(tx: Connection, row: HoldRow, at: datetime) -> None:
    """Adds a hold's key, or its tombstone, unless there is one."""
    tx.execute(
        insert(hold_keys)
        .values(
            hold_id=row.hold_id,
            root_id=row.root_id,
            wrapped=row.wrapped,
            released_at=row.released_at,
            made_at=at,
        )
        .on_conflict_do_nothing()
    )


def lock_hold(tx: Connection, hold_id: str) -> HoldRow | None:
    """A hold's row, locked."""
    row = tx.execute(select(*_HOLD).where(hold_keys.c.hold_id == hold_id).with_for_update()).one_or_none()
    return None if row is None else HoldRow(*row)


def holds_after(tx: Connection, after: str, limit: int) -> list[HoldRow]:
    """Holds that have a key, in order of id."""
    rows = tx.execute(
        select(*_HOLD)
        .where(hold_keys.c.hold_id > after, hold_keys.c.wrapped.is_not(None))
        .order_by(hold_keys.c.hold_id)
        .limit(limit)
    )
    return [HoldRow(*row) for row in rows]


def rewrap_holds(tx: Connection, root_id: str, wrapped: Mapping[str, bytes]) -> None:
    """Puts holds' keys under another root, of those that have one still: a hold may have been let go since its key was read, and a
    destroyed key never comes back."""
    execute(
        tx,
        "UPDATE hold_keys SET wrapped = fresh.wrapped, root_id = %(root_id)s "
        "FROM unnest(%(ids)b::text[], %(keys)b::bytea[]) AS fresh(id, wrapped) "
        "WHERE hold_keys.hold_id = fresh.id AND hold_keys.wrapped IS NOT NULL",
        {"root_id": root_id, "ids": list(wrapped), "keys": list(wrapped.values())},
    )


def bury_hold(tx: Connection, hold_id: str, at: datetime) -> dict[str, int]:
    """Makes a tombstone of a hold's key and forgets what it kept. How many records, by organization."""
    tx.execute(
        update(hold_keys)
        .where(hold_keys.c.hold_id == hold_id)
        .values(root_id=None, wrapped=None, released_at=at)
    )
    return forgotten(tx, retained_records, hold_id)


def forgotten(tx: Connection, table: Table, hold_id: str) -> dict[str, int]:
    """Forgets what a table keeps for a hold. How many records, by organization; counted where they are, for there may be millions."""
    gone = delete(table).where(table.c.hold_id == hold_id).returning(table.c.organization_id).cte("gone")
    counted = select(gone.c.organization_id, func.count()).group_by(gone.c.organization_id)
    return {row[0]: row[1] for row in tx.execute(counted)}


def kept_by(tx: Connection, hold_id: str, record_ids: Collection[bytes]) -> set[bytes]:
    """Which of these records a hold keeps already."""
    rows = tx.execute(
        select(retained_records.c.record_id).where(
            retained_records.c.hold_id == hold_id, among(retained_records.c.record_id, record_ids)
        )
    )
    return set(rows.scalars())


def read_retained(
    tx: Connection, organization_id: str, record_ids: Collection[bytes], *, lock: bool = False
) -> list[RetainedRow]:
    """Where holds keep these records. lock: hold rows shared, for who opens with their keys."""
    statement = (
        select(
            retained_records.c.record_id,
            retained_records.c.hold_id,
            retained_records.c.wrapped,
            hold_keys.c.root_id,
            hold_keys.c.wrapped.label("hold_wrapped"),
        )
        .join(hold_keys, hold_keys.c.hold_id == retained_records.c.hold_id)
        .where(
            retained_records.c.organization_id == organization_id,
            among(retained_records.c.record_id, record_ids),
            hold_keys.c.wrapped.is_not(None),
        )
        .order_by(retained_records.c.hold_id, retained_records.c.record_id)
    )
    if lock:
        statement = statement.with_for_update(read=True, of=hold_keys)
    return [RetainedRow(*row) for row in tx.execute(statement)]


def retain(tx: Connection, hold_id: str, organization_id: str, wrapped: Mapping[bytes, bytes | None]) -> None:
    """Keeps records for a hold."""
    execute(
        tx,
        "INSERT INTO retained_records (hold_id, organization_id, record_id, wrapped) "
        "SELECT %(hold_id)b, %(organization_id)b, fresh.record_id, fresh.wrapped "
        "FROM unnest(%(ids)b::bytea[], %(keys)b::bytea[]) AS fresh(record_id, wrapped)",
        {
            "hold_id": hold_id,
            "organization_id": organization_id,
            "ids": list(wrapped),
            "keys": list(wrapped.values()),
        },
    )

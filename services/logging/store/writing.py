"""How records get into the table: a binary COPY, and on a conflict a temporary table with ON CONFLICT DO NOTHING.

Within a transaction things are written in one order (data keys, records by key, counts), so that no two writers wait for each other in a
circle.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final, cast
from uuid import UUID

import psycopg
from sqlalchemy import Connection, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from services.logging.records import Row
from services.logging.sealing import DataKey
from services.logging.store.tables import (
    RECORD_COLUMNS,
    RECORD_TYPES,
    data_keys,
    interactions,
    retained,
    stored_counts,
)

_COLUMNS: Final = ", ".join(RECORD_COLUMNS)
_COPY: Final = f"COPY {{table}} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"


def write(tx: Connection, rows: Sequence[Row]) -> set[tuple[str, bytes]]:
    """Stores rows whose keys all differ; returns the keys of those that were not there before."""
    ordered = sorted(rows, key=lambda row: row.key)
    if not ordered:
        return set()
    try:
        with tx.begin_nested():
            _copy(tx, "interactions", ordered)
    except psycopg.errors.UniqueViolation:
        return _write_around_conflicts(tx, ordered)
    return {row.key for row in ordered}


def _write_around_conflicts(tx: Connection, rows: Sequence[Row]) -> set[tuple[str, bytes]]:
    tx.execute(
        text("CREATE TEMPORARY TABLE IF NOT EXISTS arriving (LIKE interactions) ON COMMIT DELETE ROWS")
    )
    _copy(tx, "arriving", rows)
    stored = tx.execute(
        text(
            f"INSERT INTO interactions ({_COLUMNS}) SELECT {_COLUMNS} FROM arriving "  # noqa: S608 - constants
            "ORDER BY organization_id, record_id ON CONFLICT DO NOTHING RETURNING organization_id, record_id"
        )
    ).all()
    return {(row.organization_id, row.record_id.bytes) for row in stored}


def _copy(tx: Connection, table: str, rows: Sequence[Row]) -> None:
    with cursor_of(tx) as cursor, cursor.copy(_COPY.format(table=table).encode()) as copy:
        copy.set_types(RECORD_TYPES)
        for row in rows:
            latency = None if row.latency is None else round(row.latency.total_seconds() * 1_000_000)
            copy.write_row(
                (
                    row.organization_id,
                    UUID(bytes=row.record_id),
                    row.received_at,
                    row.gateway,
                    row.application,
                    row.model,
                    row.end_user,
                    row.prompt_tokens,
                    row.generation_tokens,
                    row.finish_reason,
                    latency,
                    None if row.data_key_id is None else UUID(bytes=row.data_key_id),
                    row.content,
                    row.api_key_kind,
                )
            )


def cursor_of(tx: Connection) -> "psycopg.Cursor[tuple[Any, ...]]":
    """A cursor of the transaction's own connection, for COPY."""
    return cast("psycopg.Connection[tuple[Any, ...]]", tx.connection.driver_connection).cursor()


def write_data_keys(tx: Connection, keys: Iterable[DataKey]) -> None:
    """Stores sealed data keys that are not there yet. Waits for another transaction that is about to store the same one, so that no
    record is ever committed without its data key."""
    for key in sorted(keys, key=lambda one: one.data_key_id):
        tx.execute(
            insert(data_keys)
            .values(
                data_key_id=UUID(bytes=key.data_key_id),
                organization_id=key.organization_id,
                day=key.day,
                sealed=key.sealed,
            )
            .on_conflict_do_nothing()
        )


def count(tx: Connection, rows: Iterable[Row], writer: str) -> None:
    """Adds stored rows to the counts of their organizations and days."""
    records: Counter[tuple[date, str]] = Counter()
    with_content: Counter[tuple[date, str]] = Counter()
    for row in rows:
        place = (row.day, row.organization_id)
        records[place] += 1
        with_content[place] += row.content is not None
    for day, organization_id in sorted(records):
        added = insert(stored_counts).values(
            day=day,
            organization_id=organization_id,
            writer=writer,
            records=records[day, organization_id],
            records_with_content=with_content[day, organization_id],
        )
        tx.execute(
            added.on_conflict_do_update(
                constraint="stored_counts_pkey",
                set_={
                    "records": stored_counts.c.records + added.excluded.records,
                    "records_with_content": stored_counts.c.records_with_content
                    + added.excluded.records_with_content,
                },
            )
        )


def present(tx: Connection, keys: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Which of these records are stored, in a partition or for a hold."""
    asked = [(organization_id, UUID(bytes=record_id)) for organization_id, record_id in keys]
    found: set[tuple[str, bytes]] = set()
    for table in (interactions, retained):
        place = tuple_(table.c.organization_id, table.c.record_id)
        for row in tx.execute(select(table.c.organization_id, table.c.record_id).where(place.in_(asked))):
            found.add((row.organization_id, row.record_id.bytes))
    return found

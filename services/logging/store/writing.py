"""How records get into the table: a binary COPY, and on a conflict a temporary table with ON CONFLICT DO NOTHING.

Within a transaction things are written in one order (data keys, records by key, counts), so that no two writers wait for each other in a
circle.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from operator import attrgetter
from typing import Final, cast
from uuid import UUID

import psycopg
from sqlalchemy import Connection, select, text, tuple_

from services.logging.records import Row
from services.logging.sealing import DataKey
from services.logging.store.tables import RECORD_COLUMNS, RECORD_TYPES, interactions, retained
from shared.driver import Uuid, copy_binary, execute
from shared.driver import rows as stored_rows

_COLUMNS: Final = ", ".join(RECORD_COLUMNS)
_COPY: Final = f"COPY {{table}} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_INSERT: Final = (
    f"INSERT INTO interactions ({_COLUMNS}) VALUES ({', '.join(f'%b::{one}' for one in RECORD_TYPES)}) "  # noqa: S608 - constants
    "ON CONFLICT DO NOTHING RETURNING 1"
)
_UUIDS: Final = tuple(index for index, one in enumerate(RECORD_TYPES) if one == "uuid")
_KEY: Final = attrgetter("organization_id", "record_id")


def write(tx: Connection, rows: Sequence[Row]) -> list[Row]:
    """Stores rows whose keys all differ; returns those that were not there before, in the order of keys."""
    ordered = sorted(rows, key=_KEY)
    if len(ordered) < 2:
        return [row for row in ordered if _insert(tx, row)]
    try:
        with tx.begin_nested():
            _copy(tx, "interactions", ordered)
    except psycopg.errors.UniqueViolation:
        stored = _write_around_conflicts(tx, ordered)
        return [row for row in ordered if row.key in stored]
    return ordered


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
    copy_binary(tx, _COPY.format(table=table), RECORD_TYPES, map(_values, rows))


def _insert(tx: Connection, row: Row) -> bool:
    """Stores one row; whether it was not there before. For one, COPY and its savepoint take longer than the row."""
    values = list(_values(row))
    for index in _UUIDS:
        values[index] = None if values[index] is None else Uuid(cast("bytes", values[index]))
    return bool(stored_rows(tx, _INSERT, values))


def _values(row: Row) -> tuple[object, ...]:
    """A row as it is copied."""
    return (
        row.organization_id,
        row.record_id,
        row.received_at,
        row.gateway,
        row.application,
        row.model,
        row.end_user,
        row.prompt_tokens,
        row.generation_tokens,
        row.finish_reason,
        None if row.latency is None else round(row.latency.total_seconds() * 1_000_000),
        row.data_key_id,
        row.content,
        row.api_key_kind,
    )


def write_data_keys(tx: Connection, keys: Iterable[DataKey]) -> None:
    """Stores sealed data keys that are not there yet. Waits for another transaction that is about to store the same one, so that no
    record is ever committed without its data key."""
    ordered = sorted(keys, key=lambda one: one.data_key_id)
    if ordered:
        execute(
            tx,
            "INSERT INTO data_keys (data_key_id, organization_id, day, sealed) "
            "SELECT * FROM unnest(%b::uuid[], %b::text[], %b::date[], %b::bytea[]) ON CONFLICT DO NOTHING",
            (
                [Uuid(key.data_key_id) for key in ordered],
                [key.organization_id for key in ordered],
                [key.day for key in ordered],
                [key.sealed for key in ordered],
            ),
        )


def count(tx: Connection, rows: Iterable[Row], writer: str) -> None:
    """Adds stored rows to the counts of their organizations and days."""
    records: Counter[tuple[date, str]] = Counter()
    with_content: Counter[tuple[date, str]] = Counter()
    for row in rows:
        place = (row.day, row.organization_id)
        records[place] += 1
        with_content[place] += row.content is not None
    places = sorted(
        records
    )  # in one order: writers that share a name would else wait for each other in a circle
    if places:
        execute(
            tx,
            "INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content) "
            "SELECT day, organization_id, %b, records, with_content FROM unnest(%b::date[], %b::text[], %b::int8[], %b::int8[]) "
            "AS added(day, organization_id, records, with_content) ON CONFLICT (day, organization_id, writer) DO UPDATE SET "
            "records = counted.records + excluded.records, "
            "records_with_content = counted.records_with_content + excluded.records_with_content",
            (
                writer,
                [day for day, _ in places],
                [organization_id for _, organization_id in places],
                [records[place] for place in places],
                [with_content[place] for place in places],
            ),
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

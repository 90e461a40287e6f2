"""How records get into the table: a binary COPY, and on a conflict a temporary table with ON CONFLICT DO NOTHING; one by itself in one
statement with all that belongs to it.

Within a transaction things are written in one order (data keys, records by key, counts), so that no two writers wait for each other in a
circle.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from operator import attrgetter
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy import Connection, select, text, tuple_

from services.logging.records import Row
from services.logging.sealing import DataKey
from services.logging.store.screening import expect
from services.logging.store.tables import RECORD_COLUMNS, RECORD_TYPES, interactions, retained
from shared.driver import Uuid, copy_binary, execute, listed, together
from shared.driver import rows as answered

_COLUMNS: Final = ", ".join(RECORD_COLUMNS)
_COPY: Final = f"COPY {{table}} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COUNT: Final = """
    ON CONFLICT (day, organization_id, writer) DO UPDATE SET records = counted.records + excluded.records,
    records_with_content = counted.records_with_content + excluded.records_with_content
"""
_WRITE_ONE: Final = f"""
    WITH stored AS (
        INSERT INTO interactions ({_COLUMNS}) VALUES ({", ".join(f"%b::{one}" for one in RECORD_TYPES)}) ON CONFLICT DO NOTHING
        RETURNING organization_id, record_id, received_at, content IS NOT NULL AS has_content
    ), waiting AS (
        INSERT INTO unscreened (organization_id, record_id, received_at)
        SELECT organization_id, record_id, received_at FROM stored WHERE has_content
    ), counting AS (
        INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content)
        SELECT %b::date, organization_id, %b::text, 1, has_content::int FROM stored {_COUNT}
    ) SELECT 1 FROM stored
"""  # noqa: S608 - constants
_COUNT_ALL: Final = f"""
    INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content)
    SELECT day, organization_id, %b, records, with_content FROM unnest(%t::date[], %t::text[], %t::int8[], %t::int8[])
    AS added(day, organization_id, records, with_content) {_COUNT}
"""  # noqa: S608 - constants
_KEY: Final = attrgetter("organization_id", "record_id")


def write(tx: Connection, rows: Sequence[Row], writer: str) -> Sequence[Row]:
    """Stores rows whose keys all differ, and which were received at one instant; with them, that those with content wait to be screened,
    and how many there are of each organization and day. writer: whose counts. Returns those that were not there before, in the order of
    keys."""
    ordered = sorted(rows, key=_KEY)
    if len(ordered) < 2:
        return [row for row in ordered if _write_one(tx, row, writer)]
    fresh = _write_many(tx, ordered)
    with together(tx):
        expect(tx, fresh)
        _count(tx, fresh, writer)
    return fresh


def _write_one(tx: Connection, row: Row, writer: str) -> bool:
    """Whether it was not there before. One statement: COPY, its savepoint and what follows take far longer than one row."""
    return bool(answered(tx, _WRITE_ONE, (*_values(row), row.day, writer)))


def _write_many(tx: Connection, rows: Sequence[Row]) -> Sequence[Row]:
    try:
        with tx.begin_nested():
            _copy(tx, "interactions", rows)
    except psycopg.errors.UniqueViolation:
        stored = _write_around_conflicts(tx, rows)
        return [row for row in rows if row.key in stored]
    return rows


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


def _values(row: Row) -> tuple[object, ...]:
    return (
        row.organization_id,
        Uuid(row.record_id),
        row.received_at,
        row.gateway,
        row.application,
        row.model,
        row.end_user,
        row.prompt_tokens,
        row.generation_tokens,
        row.finish_reason,
        None if row.latency is None else round(row.latency.total_seconds() * 1_000_000),
        None if row.data_key_id is None else Uuid(row.data_key_id),
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


def _count(tx: Connection, rows: Iterable[Row], writer: str) -> None:
    records: Counter[tuple[date, str]] = Counter()
    with_content: Counter[tuple[date, str]] = Counter()
    for row in rows:
        place = (row.day, row.organization_id)
        records[place] += 1
        with_content[place] += row.content is not None
    # In one order: writers that share a name would else wait for each other in a circle.
    places = sorted(records)
    if places:
        execute(
            tx,
            _COUNT_ALL,
            (
                writer,
                listed(day for day, _ in places),
                listed(organization_id for _, organization_id in places),
                listed(records[place] for place in places),
                listed(with_content[place] for place in places),
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

"""How records get into the table: a binary COPY, and on a conflict a temporary table with ON CONFLICT DO NOTHING; one by itself in one
statement with all that belongs to it.

Within a transaction things are written in one order (data keys, records by key, counts), so that no two writers wait for each other in a
circle.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import Connection, select, text, tuple_

from services.logging.records import Row
from services.logging.sealing import DataKey
from services.logging.store import arrivals, locks
from services.logging.store.lots import APPLICATION, writer_of
from services.logging.store.screening import expect
from services.logging.store.tables import RECORD_COLUMNS, RECORD_TYPES, interactions, retained
from shared.driver import Uuid, copy_binary, execute, later, listed, together
from shared.ids import record_days

_COLUMNS: Final = ", ".join(RECORD_COLUMNS)
_COPY: Final = f"COPY {{table}} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COUNT: Final = """
    ON CONFLICT (day, organization_id, writer) DO UPDATE SET records = counted.records + excluded.records,
    records_with_content = counted.records_with_content + excluded.records_with_content
"""
_WRITE_ONE: Final = f"""
    WITH stored AS (
        INSERT INTO interactions ({_COLUMNS}) SELECT * FROM (VALUES ({", ".join(f"%b::{one}" for one in RECORD_TYPES)}))
        AS arriving ({_COLUMNS}) WHERE {{free}} ON CONFLICT DO NOTHING
        RETURNING organization_id, record_id, received_at, content IS NOT NULL AS has_content, {APPLICATION} AS lot
    ), waiting AS (
        INSERT INTO unscreened (organization_id, record_id, received_at)
        SELECT organization_id, record_id, received_at FROM stored WHERE has_content
    ), counting AS (
        INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content, application)
        SELECT %b::date, organization_id, %b::text, 1, has_content::int, lot FROM stored {_COUNT}
    ){{used}} SELECT 1 FROM stored
"""  # noqa: S608 - constants
_USED: Final = f", used AS ({arrivals.INSERT} SELECT organization_id, {arrivals.VALUES} FROM stored)"  # noqa: S608
# No fence stands before it: see stripes.share_and_look and subjects.fenced, which ask the same of many.
_FREE: Final = """
    NOT EXISTS (SELECT FROM organization_fences WHERE organization_id = arriving.organization_id)
    AND NOT EXISTS (SELECT FROM day_fences WHERE day = %b)
    AND (arriving.content IS NULL OR NOT EXISTS (
        SELECT FROM content_erasures AS act WHERE act.organization_id = arriving.organization_id AND act.below > arriving.record_id
    ))
    AND NOT EXISTS (
        SELECT FROM subject_fences AS fence WHERE fence.organization_id = arriving.organization_id
        AND fence.end_user = arriving.end_user AND fence.below > arriving.record_id
    )
"""
_WRITE_UNUSED_ONE: Final = _WRITE_ONE.format(used="", free=_FREE)
_WRITE_USED_ONE: Final = _WRITE_ONE.format(used=_USED, free=_FREE)
_COUNT_ALL: Final = f"""
    INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content, application)
    SELECT * FROM unnest(%t::date[], %t::text[], %b::text[], %t::int8[], %t::int8[], %b::text[]) {_COUNT}
"""  # noqa: S608 - constants
_UUIDS: Final = [place for place, name in enumerate(RECORD_TYPES) if name == "uuid"]
_PLACE: Final = attrgetter("organization_id", "lot")


# What was used with rows, to be counted.
Usage = Callable[[Sequence[Row]], Sequence[arrivals.Cell]]


class AlreadyThere(Exception):
    """Some of the rows are stored already: what was tried is to be tried around them, in another transaction. (To go back to a savepoint
    instead would cost every batch two round trips.)"""


def write(
    tx: Connection,
    rows: Sequence[Row],
    writer: str,
    usage: Usage | None = None,
    *,
    around: bool = False,
) -> Sequence[Row]:
    """Stores rows in the order of their keys, which all differ, received at one instant; with them, that those with content wait to be
    screened, and how many there are of each organization and day. writer: whose counts. usage: what was used with rows that were not there
    before, to be folded later; None where that is not counted. Returns those that were not there before.

    Raises AlreadyThere when some are, and then the transaction is lost; around: writes around them, which takes three times as long."""
    if not rows:
        return []
    # Statements that write in several places are nothing that Citus promises to take.
    if len(rows) == 1 and not locks.are_on_shards(tx):
        return [row for row in rows if write_one(tx, row, writer, usage)()]
    fresh = rows
    if around:
        stored = _write_around(tx, rows)
        fresh = [row for row in rows if row.key in stored]
    else:
        try:
            _copy(tx, "interactions", rows)
        except psycopg.errors.UniqueViolation as error:
            raise AlreadyThere from error
    cells = [] if usage is None else usage(fresh)
    with together(tx):
        expect(tx, fresh)
        _count(tx, fresh, writer)
        arrivals.add(tx, cells)
    return fresh


def write_one(
    tx: Connection, row: Row, writer: str, usage: Usage | None
) -> Callable[[], list[tuple[object, ...]]]:
    """The same for one row by itself, in one statement: COPY and what follows take far longer than one row. Writes nothing
    where a fence stands before it. What is returned tells, once the statement was carried out, whether the row was written."""
    cells = [] if usage is None else usage([row])
    given = (*_parameters(row), row.day, row.day, writer_of(writer, row.lot))
    if not cells:
        return later(tx, _WRITE_UNUSED_ONE, given)
    [cell] = cells
    return later(tx, _WRITE_USED_ONE, given + arrivals.values_of(cell))


def _write_around(tx: Connection, rows: Sequence[Row]) -> set[tuple[str, bytes]]:
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


def _parameters(row: Row) -> list[object]:
    """The values for a statement; a COPY knows by itself which are uuids."""
    values = list(_values(row))
    for place in _UUIDS:
        values[place] = None if values[place] is None else Uuid(values[place])
    return values


def _values(row: Row) -> tuple[Any, ...]:
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
        row.latency_us,
        row.data_key_id,
        row.content,
        row.api_key_kind,
        row.by_application or None,
        row.api_key_id or None,
        row.country or None,
    )


def write_data_keys(tx: Connection, keys: Iterable[DataKey]) -> None:
    """Stores sealed data keys that are not there yet. Waits for another transaction that is about to store the same one, so that no
    record is ever committed without its data key."""
    ordered = sorted(keys, key=lambda one: one.data_key_id)
    if ordered:
        execute(
            tx,
            "INSERT INTO data_keys (data_key_id, organization_id, day, sealed, application) "
            "SELECT * FROM unnest(%b::uuid[], %b::text[], %b::date[], %b::bytea[], %b::text[]) ON CONFLICT DO NOTHING",
            (
                [Uuid(key.data_key_id) for key in ordered],
                [key.organization_id for key in ordered],
                [key.day for key in ordered],
                [key.sealed for key in ordered],
                [key.application for key in ordered],
            ),
        )


def _count(tx: Connection, rows: Sequence[Row], writer: str) -> None:
    days = record_days([row.record_id for row in rows])
    records = _counted(rows, days)
    have_content = [row for row in rows if row.content is not None]
    with_content = records if len(have_content) == len(rows) else _counted(have_content, days)
    # In one order: writers that share a name would else wait for each other in a circle.
    places = sorted(records)
    if places:
        execute(
            tx,
            _COUNT_ALL,
            (
                listed(day for day, _, _ in places),
                listed(organization_id for _, organization_id, _ in places),
                [writer_of(writer, application) for _, _, application in places],
                listed(records[place] for place in places),
                listed(with_content[place] for place in places),
                [application for _, _, application in places],
            ),
        )


def _counted(rows: Sequence[Row], days: Collection[date]) -> Counter[tuple[date, str, str]]:
    """How many rows there are of each day, organization and lot. days: all that they are of; where it is one, none is asked."""
    if len(days) == 1:
        [day] = days
        return Counter({(day, *place): count for place, count in Counter(map(_PLACE, rows)).items()})
    return Counter((row.day, *_PLACE(row)) for row in rows)


def present(tx: Connection, keys: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Which of these records are stored, in a partition or for a hold."""
    asked = [(organization_id, UUID(bytes=record_id)) for organization_id, record_id in keys]
    found: set[tuple[str, bytes]] = set()
    for table in (interactions, retained):
        place = tuple_(table.c.organization_id, table.c.record_id)
        for row in tx.execute(select(table.c.organization_id, table.c.record_id).where(place.in_(asked))):
            found.add((row.organization_id, row.record_id.bytes))
    return found

"""How records are found again: those of partitions, and those that holds keep beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, exists, func, select

from kept.retention.v1 import holds_pb2
from services.logging.records import PRODUCTION, StoredRow
from services.logging.scope import EVERYTHING, Selection
from services.logging.store.tables import RECORD_COLUMNS, data_keys, holds, interactions, retained

# How many records are looked at for one page. Nothing but the key has an index: every other would cost all that is ever recorded, for
# questions that few ask. So a filter that matches little costs a page this much, some 20 ms, and no more.
SCANNED: Final = 10_000


@dataclass(frozen=True)
class Span:
    """Which records of one organization: ids of [low, high), 16 bytes each; only these, unless None. living: ids from this one on are not
    due; below it only what is held counts. selection: which of these."""

    organization_id: str
    low: bytes
    high: bytes
    record_ids: frozenset[bytes] | None
    living: bytes
    selection: Selection = EVERYTHING


@dataclass(frozen=True)
class Page:
    """Records in the order of ids. after: where to go on, all that is not behind it was looked at; None when there is nothing more."""

    rows: list[StoredRow]
    after: bytes | None


def page(tx: Connection, span: Span, after: bytes | None, limit: int) -> Page:
    """The first records of the span after an id, at most `limit`, with their sealed data keys and without content: one record may have
    megabytes of it (`contents`). Fewer, or none, when no more of `SCANNED` records are wanted.

    Partitions are read before `retained`: what is dropped between the two statements was copied before.
    """
    low = _behind(span, after)
    last = _last_scanned(tx, span, low)
    if last is not None:
        span = replace(span, high=_next(last))
    rows: dict[bytes, StoredRow] = {}
    for table in _tables(span):
        rows |= {row.record_id: row for row in _select(tx, table, span, low, limit + 1)}
    chosen = [rows[record_id] for record_id in sorted(rows)[:limit]]
    return Page(_with_data_keys(tx, chosen), chosen[-1].record_id if len(rows) > limit else last)


def _tables(span: Span) -> tuple[Table, ...]:
    return (retained,) if span.selection.flagged else (interactions, retained)


def _last_scanned(tx: Connection, span: Span, low: bytes) -> bytes | None:
    """The last id that one page of a filter may look at, counted in the index alone; None where the span ends before."""
    if span.selection.is_everything or span.record_ids is not None:
        return None
    ends: list[bytes] = []
    for table in _tables(span):
        begin = _begin(table, span, low)
        if begin < span.high:
            query = _within(select(table.c.record_id), table, replace(span, selection=EVERYTHING), begin)
            found = tx.execute(query.order_by(table.c.record_id).offset(SCANNED - 1).limit(1)).scalar()
            ends += [] if found is None else [found.bytes]
    return min(ends, default=None)


def ids(tx: Connection, span: Span, after: bytes | None) -> list[bytes]:
    """The ids of all records of the span after an id, in order. For spans that are known to be small."""
    low = _behind(span, after)
    found: set[bytes] = set()
    for table in _tables(span):
        begin = _begin(table, span, low)
        if begin < span.high:
            query = _within(select(table.c.record_id), table, span, begin)
            found |= {one.bytes for one in tx.execute(query).scalars()}
    return sorted(found)


def _behind(span: Span, after: bytes | None) -> bytes:
    return span.low if after is None or after < span.low else _next(after)


def _next(record_id: bytes) -> bytes:
    return (int.from_bytes(record_id) + 1).to_bytes(16)


def _begin(table: Table, span: Span, low: bytes) -> bytes:
    """From where on a table's records count: what is due counts only in `retained`."""
    return low if table is retained else max(low, span.living)


def _within(query: Select[Any], table: Table, span: Span, low: bytes) -> Select[Any]:
    query = query.where(
        table.c.organization_id == span.organization_id,
        table.c.record_id >= UUID(bytes=low),
        table.c.record_id < UUID(bytes=span.high),
        *_wanted(table, span.selection),
    )
    if span.record_ids is None:
        return query
    return query.where(table.c.record_id.in_([UUID(bytes=one) for one in sorted(span.record_ids)]))


def _wanted(table: Table, selection: Selection) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        table.c[name] == value
        for name in ("application", "model", "end_user", "finish_reason")
        if (value := getattr(selection, name))
    ]
    for name in ("prompt_tokens", "generation_tokens"):
        least, most = getattr(selection, name)
        conditions += [] if least is None else [table.c[name] >= least]
        conditions += [] if most is None else [table.c[name] <= most]
    if selection.flagged:
        conditions.append(
            exists().where(
                holds.c.organization_id == table.c.organization_id,
                holds.c.record_id == table.c.record_id,
                holds.c.kind == holds_pb2.HOLD_KIND_FLAGGED,
            )
        )
    return conditions


def _select(tx: Connection, table: Table, span: Span, low: bytes, limit: int) -> list[StoredRow]:
    low = _begin(table, span, low)
    if low >= span.high:
        return []
    columns: list[Any] = [table.c[name] for name in RECORD_COLUMNS if name != "content"]
    columns.append(func.coalesce(func.octet_length(table.c.content), 0).label("content_size"))
    if table is retained:
        columns.append(retained.c.sealed_data_key)
    query = _within(select(*columns), table, span, low).order_by(table.c.record_id).limit(limit)
    return [_stored_row(row, is_held=table is retained) for row in tx.execute(query).mappings()]


def contents(tx: Connection, organization_id: str, record_ids: Sequence[bytes]) -> dict[bytes, bytes]:
    """The sealed contents of these records, of those that are there and have some."""
    wanted = [UUID(bytes=one) for one in sorted(record_ids)]
    found: dict[bytes, bytes] = {}
    for table in (interactions, retained):
        query = select(table.c.record_id, table.c.content).where(
            table.c.organization_id == organization_id,
            table.c.record_id.in_(wanted),
            table.c.content.is_not(None),
        )
        found |= {row.record_id.bytes: row.content for row in tx.execute(query)}
    return found


def _with_data_keys(tx: Connection, rows: Sequence[StoredRow]) -> list[StoredRow]:
    missing = {row.data_key_id for row in rows if row.data_key_id is not None and row.sealed_data_key is None}
    sealed: dict[bytes, bytes] = {}
    if missing:
        asked = select(data_keys.c.data_key_id, data_keys.c.sealed).where(
            data_keys.c.organization_id.in_({row.organization_id for row in rows}),
            data_keys.c.data_key_id.in_(sorted(UUID(bytes=one) for one in missing)),
        )
        sealed = {row.data_key_id.bytes: row.sealed for row in tx.execute(asked)}
    return [
        replace(row, sealed_data_key=sealed.get(row.data_key_id))
        if row.data_key_id is not None and row.sealed_data_key is None
        else row
        for row in rows
    ]


def _stored_row(row: RowMapping, *, is_held: bool) -> StoredRow:
    return StoredRow(
        organization_id=row["organization_id"],
        record_id=row["record_id"].bytes,
        received_at=row["received_at"],
        gateway=row["gateway"],
        application=row["application"],
        model=row["model"],
        end_user=row["end_user"],
        prompt_tokens=row["prompt_tokens"],
        generation_tokens=row["generation_tokens"],
        finish_reason=row["finish_reason"],
        latency=None if row["latency_us"] is None else timedelta(microseconds=row["latency_us"]),
        data_key_id=None if row["data_key_id"] is None else row["data_key_id"].bytes,
        api_key_kind=PRODUCTION if row["api_key_kind"] is None else row["api_key_kind"],
        content_size=row["content_size"],
        is_held=is_held,
        sealed_data_key=row.get("sealed_data_key"),
    )

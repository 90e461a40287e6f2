"""How records are found again: those of partitions, and those that holds or terms keep beyond them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    Table,
    exists,
    false,
    func,
    null,
    or_,
    select,
)

from kept.retention.v1 import holds_pb2
from services.logging.records import PRODUCTION, StoredRow
from services.logging.scope import EVERYTHING, Selection
from services.logging.store.kept import IS_HELD
from services.logging.store.tables import (
    RECORD_COLUMNS,
    RECORD_TYPES,
    data_keys,
    holds,
    interactions,
    retained,
)
from shared.driver import Uuid
from shared.driver import rows as answered

# How many records are looked at for one page. Nothing but the key has an index: every other would cost all that is ever recorded, for
# questions that few ask. So a filter that matches little costs a page this much, some 20 ms, and no more.
SCANNED: Final = 10_000


_LOG_DATA: Final = tuple(name for name in RECORD_COLUMNS if name != "content")
# Ids as the 16 bytes that they are: to make objects of them takes longer than the rest of a row.
_UUIDS: Final = frozenset(
    name for name, kind in zip(RECORD_COLUMNS, RECORD_TYPES, strict=True) if kind == "uuid"
)
# The bounds name the partitions in which these may lie; without them all are looked through.
_CONTENTS: Final[tuple[LiteralString, ...]] = (
    "SELECT uuid_send(record_id), content FROM interactions "
    "WHERE organization_id = %b AND record_id = ANY(%b::uuid[]) AND record_id BETWEEN %b AND %b AND content IS NOT NULL",
    "SELECT uuid_send(record_id), content FROM retained "
    "WHERE organization_id = %b AND record_id = ANY(%b::uuid[]) AND record_id BETWEEN %b AND %b AND content IS NOT NULL",
)


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
        *([or_(table.c.record_id >= UUID(bytes=span.living), IS_HELD)] if table is retained else []),
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
    columns: list[Any] = [
        func.uuid_send(table.c[name], type_=LargeBinary) if name in _UUIDS else table.c[name]
        for name in _LOG_DATA
    ]
    columns.append(func.coalesce(func.octet_length(table.c.content), 0))
    columns += [retained.c.sealed_data_key, IS_HELD] if table is retained else [null(), false()]
    query = _within(select(*columns), table, span, low).order_by(table.c.record_id).limit(limit)
    return [_stored_row(row) for row in tx.execute(query)]


def contents(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> dict[bytes, bytes]:
    """The sealed contents of these records, of those that are there and have some."""
    if not record_ids:
        return {}
    wanted = [Uuid(one) for one in record_ids]
    found: dict[bytes, bytes] = {}
    for statement in _CONTENTS:
        found.update(answered(tx, statement, (organization_id, wanted, min(wanted), max(wanted))))
    return found


def _with_data_keys(tx: Connection, rows: list[StoredRow]) -> list[StoredRow]:
    missing = {row.data_key_id for row in rows if row.data_key_id is not None and row.sealed_data_key is None}
    sealed: dict[bytes, bytes] = {}
    if missing:
        asked = select(data_keys.c.data_key_id, data_keys.c.sealed).where(
            data_keys.c.organization_id.in_({row.organization_id for row in rows}),
            data_keys.c.data_key_id.in_(sorted(UUID(bytes=one) for one in missing)),
        )
        sealed = {row.data_key_id.bytes: row.sealed for row in tx.execute(asked)}
    for row in rows:
        if row.data_key_id is not None and row.sealed_data_key is None:
            row.sealed_data_key = sealed.get(row.data_key_id)
    return rows


def _stored_row(row: Sequence[Any]) -> StoredRow:
    values = dict(zip(_LOG_DATA, row[:-3], strict=True))
    latency = values.pop("latency_us")
    values["api_key_kind"] = values["api_key_kind"] or PRODUCTION
    return StoredRow(
        **values,
        latency=None if latency is None else timedelta(microseconds=latency),
        content_size=row[-3],
        sealed_data_key=row[-2],
        is_held=row[-1],
    )

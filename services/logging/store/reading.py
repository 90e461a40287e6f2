"""How records are found again: those of partitions, and those that holds or terms keep beyond them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, LiteralString

from sqlalchemy import Connection

from kept.retention.v1 import holds_pb2
from services.logging.reading.scope import EVERYTHING, Selection
from services.logging.records import PRODUCTION, StoredRow
from shared.driver import Uuid
from shared.driver import rows as answered

# How many records are looked at for one page. Nothing but the key has an index: every other would cost all that is ever recorded, for
# questions that few ask. So a filter that matches little costs a page this much, some 20 ms, and no more.
SCANNED: Final = 10_000

# In the order of StoredRow's fields. Ids as the 16 bytes that they are: to make objects of them takes longer than the rest of a row.
_FIELDS: Final[LiteralString] = (
    "SELECT organization_id, uuid_send(record_id), received_at, gateway, application, model, end_user, prompt_tokens, generation_tokens, "
    "finish_reason, latency_us, coalesce(api_key_kind, %(production)b), uuid_send(data_key_id), "
    "CASE WHEN octet_length(content) <= %(carried)b THEN content END, 0, coalesce(by_application, false), coalesce(api_key_id, ''), "
    "coalesce(country, ''), coalesce(octet_length(content), 0)"
)
_PARTITIONS: Final[LiteralString] = "interactions"
_RETAINED: Final[LiteralString] = "retained"
# Whether a hold keeps a row of `retained`: kept.IS_HELD, as the driver has it.
_HELD: Final[LiteralString] = (
    "(NOT by_term OR EXISTS (SELECT FROM holds WHERE holds.organization_id = retained.organization_id "
    "AND holds.record_id = retained.record_id))"
)
_ROWS: Final[dict[LiteralString, LiteralString]] = {
    _PARTITIONS: _FIELDS + ", false, NULL FROM interactions WHERE ",
    _RETAINED: _FIELDS + ", " + _HELD + ", sealed_data_key FROM retained WHERE ",
}
_IDS: Final[dict[LiteralString, LiteralString]] = {
    _PARTITIONS: "SELECT uuid_send(record_id) FROM interactions WHERE ",
    _RETAINED: "SELECT uuid_send(record_id) FROM retained WHERE ",
}
_HAVE_CONTENT: Final[dict[LiteralString, LiteralString]] = {
    _PARTITIONS: "SELECT uuid_send(record_id), content IS NOT NULL FROM interactions WHERE ",
    _RETAINED: "SELECT uuid_send(record_id), content IS NOT NULL FROM retained WHERE ",
}
_FLAGGED: Final[dict[LiteralString, LiteralString]] = {
    table: "EXISTS (SELECT FROM holds WHERE holds.organization_id = " + table + ".organization_id "
    "AND holds.record_id = " + table + ".record_id AND holds.kind = %(flagged)b)"
    for table in (_PARTITIONS, _RETAINED)
}
_LIVING: Final[LiteralString] = "record_id >= %(living)b"
_LIVING_OF: Final[LiteralString] = (
    "record_id >= CASE WHEN by_application AND application = ANY(%(applications)b::text[]) "
    "THEN (%(living_of)b::uuid[])[array_position(%(applications)b::text[], application)] ELSE %(living)b END"
)
_EQUAL: Final[dict[str, LiteralString]] = {
    "application": "application = %(application)b",
    "model": "model = %(model)b",
    "end_user": "end_user = %(end_user)b",
    "finish_reason": "finish_reason = %(finish_reason)b",
    "api_key_id": "api_key_id = %(api_key_id)b",
    "country": "country = %(country)b",
}
_BOUNDED: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "prompt_tokens": ("prompt_tokens >= %(prompt_tokens_least)b", "prompt_tokens <= %(prompt_tokens_most)b"),
    "generation_tokens": (
        "generation_tokens >= %(generation_tokens_least)b",
        "generation_tokens <= %(generation_tokens_most)b",
    ),
}
_DATA_KEYS: Final[LiteralString] = (
    "SELECT uuid_send(data_key_id), sealed FROM data_keys WHERE organization_id = %b AND data_key_id = ANY(%b::uuid[])"
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
    due; below it only what is held counts, and not even that unless held_too. living_of: the same of applications with lots of their own
    (shared.terms). selection: which of these."""

    organization_id: str
    low: bytes
    high: bytes
    record_ids: frozenset[bytes] | None
    living: bytes
    selection: Selection = EVERYTHING
    held_too: bool = True
    living_of: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Records in the order of ids. after: where to go on, all that is not behind it was looked at; None when there is nothing more."""

    rows: list[StoredRow]
    after: bytes | None


def page(tx: Connection, span: Span, after: bytes | None, limit: int, *, carried: int = -1) -> Page:
    """The first records of the span after an id, at most `limit`, with their sealed data keys. Fewer, or none, when no more of `SCANNED`
    records are wanted. carried: sealed content of up to so many bytes comes with its row, for a second look-up takes longer than to carry
    it; one record may have megabytes (`contents`).

    Partitions are read before `retained`: what is dropped between the two statements was copied before.
    """
    low = _behind(span, after)
    last = _last_scanned(tx, span, low)
    if last is not None:
        span = replace(span, high=_next(last))
    found = [_select(tx, table, span, low, limit + 1, carried) for table in _tables(span)]
    rows = found[0]
    if any(found[1:]):  # seldom, and what is in both counts as `retained` has it
        together = {row.record_id: row for of_table in found for row in of_table}
        rows = [together[record_id] for record_id in sorted(together)]
    chosen = _with_data_keys(tx, span.organization_id, rows[:limit])
    return Page(chosen, chosen[-1].record_id if len(rows) > limit else last)


def _tables(span: Span) -> tuple[LiteralString, ...]:
    return (_RETAINED,) if span.selection.flagged else (_PARTITIONS, _RETAINED)


def _last_scanned(tx: Connection, span: Span, low: bytes) -> bytes | None:
    """The last id that one page of a filter may look at, counted in the index alone; None where the span ends before."""
    if span.selection.is_everything or span.record_ids is not None:
        return None
    ends: list[bytes] = []
    for table in _tables(span):
        begin = _begin(table, span, low)
        if begin < span.high:
            where, values = _within(table, replace(span, selection=EVERYTHING), begin)
            query = _IDS[table] + where + " ORDER BY record_id OFFSET %(scanned)b LIMIT 1"
            ends += [one for (one,) in answered(tx, query, values | {"scanned": SCANNED - 1})]
    return min(ends, default=None)


def ids(tx: Connection, span: Span, after: bytes | None) -> list[bytes]:
    """The ids of all records of the span after an id, in order. For spans that are known to be small."""
    return sorted({one for (one,) in _each(tx, _IDS, span, _behind(span, after))})


def have_content(tx: Connection, span: Span) -> dict[bytes, bool]:
    """Of the records that a span names, those that are there, by id, and whether their content is, too."""
    # What is in both tables counts as `retained`, the last of them, has it.
    return dict(_each(tx, _HAVE_CONTENT, span, span.low))


def _each(
    tx: Connection, select: Mapping[LiteralString, LiteralString], span: Span, low: bytes
) -> Iterator[tuple[Any, ...]]:
    """What a statement of each table gives for the records of a span from `low` on."""
    for table in _tables(span):
        begin = _begin(table, span, low)
        if begin < span.high:
            where, values = _within(table, span, begin)
            yield from answered(tx, select[table] + where, values)


def _behind(span: Span, after: bytes | None) -> bytes:
    return span.low if after is None or after < span.low else _next(after)


def _next(record_id: bytes) -> bytes:
    return (int.from_bytes(record_id) + 1).to_bytes(16)


def _begin(table: LiteralString, span: Span, low: bytes) -> bytes:
    """From where on a table's records count: what is due counts only in `retained`."""
    if table == _RETAINED and span.held_too:
        return low
    return max(low, min((span.living, *span.living_of.values())))


def _within(table: LiteralString, span: Span, low: bytes) -> tuple[LiteralString, dict[str, object]]:
    """The condition that a record of a table is in the span, and what it names."""
    wanted = span.selection
    conditions: list[LiteralString] = [
        "organization_id = %(organization)b",
        "record_id >= %(low)b",
        "record_id < %(high)b",
    ]
    values: dict[str, object] = {
        "organization": span.organization_id,
        "low": Uuid(low),
        "high": Uuid(span.high),
    }
    for name, condition in _EQUAL.items():
        if value := getattr(wanted, name):
            conditions.append(condition)
            values[name] = value
    for name, bounds in _BOUNDED.items():
        for bound, condition, value in zip(("least", "most"), bounds, getattr(wanted, name), strict=True):
            if value is not None:
                conditions.append(condition)
                values[f"{name}_{bound}"] = value
    if wanted.flagged:
        conditions.append(_FLAGGED[table])
        values["flagged"] = holds_pb2.HOLD_KIND_FLAGGED
    if table == _RETAINED or span.living_of:  # what a term keeps is due as in its partition
        living = _LIVING_OF if span.living_of else _LIVING
        # Who is not shown what only a hold keeps does not come across it either: that it is looked up would tell of it.
        is_held_enough = table == _RETAINED and span.held_too
        conditions.append("(" + living + " OR " + _HELD + ")" if is_held_enough else living)
        values["living"] = Uuid(span.living)
        if span.living_of:
            values["applications"] = list(span.living_of)
            values["living_of"] = [Uuid(one) for one in span.living_of.values()]
    if span.record_ids is not None:
        conditions.append("record_id = ANY(%(record_ids)b::uuid[])")
        values["record_ids"] = [Uuid(one) for one in sorted(span.record_ids)]
    return " AND ".join(conditions), values


def _select(
    tx: Connection, table: LiteralString, span: Span, low: bytes, limit: int, carried: int
) -> list[StoredRow]:
    low = _begin(table, span, low)
    if low >= span.high:
        return []
    where, values = _within(table, span, low)
    values |= {"limit": limit, "carried": carried, "production": PRODUCTION}
    found = answered(tx, _ROWS[table] + where + " ORDER BY record_id LIMIT %(limit)b", values)
    return [StoredRow(*row) for row in found]


def contents(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> dict[bytes, bytes]:
    """The sealed contents of these records, of those that are there and have some."""
    if not record_ids:
        return {}
    wanted = [Uuid(one) for one in record_ids]
    found: dict[bytes, bytes] = {}
    for statement in _CONTENTS:
        found.update(answered(tx, statement, (organization_id, wanted, min(wanted), max(wanted))))
    return found


def _with_data_keys(tx: Connection, organization_id: str, rows: list[StoredRow]) -> list[StoredRow]:
    missing = {row.data_key_id for row in rows if row.sealed_data_key is None} - {None}
    if not missing:
        return rows
    asked = [Uuid(one) for one in missing if one is not None]
    sealed = dict(answered(tx, _DATA_KEYS, (organization_id, asked)))
    for row in rows:
        if row.sealed_data_key is None:
            row.sealed_data_key = sealed.get(row.data_key_id)
    return rows

"""What holds keep of which the law forbids telling the customer.

Copies lie in a table of their own, and nothing else looks there: reads, counts, erasures and drops go on as if the hold were not, so that
no answer of theirs can betray it. `disclose` moves them to where the copies of ordinary holds lie.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, delete, exists, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from services.logging.store.lots import application_of
from services.logging.store.retention import COPIED, HeldRow, by_day, held_rows, living_copies
from services.logging.store.stored_counts import Single, count_contents_in, count_in
from services.logging.store.tables import (
    confidential_rows,
    disclosed_holds,
    holds,
    interactions,
    organization_fences,
    retained,
)
from shared.database import among

_CONTENT: Final = ("data_key_id", "content", "sealed_data_key")


def is_disclosed(tx: Connection, hold_id: str) -> bool:
    """Whether a locked hold's secrecy has ended; for ever then."""
    return tx.execute(select(exists().where(disclosed_holds.c.hold_id == hold_id))).scalar_one()


def hold(
    tx: Connection, hold_id: str, organization_id: str, record_ids: Sequence[bytes]
) -> tuple[list[HeldRow], bool]:
    """Copies rows with their sealed data keys for a hold; returns those that it keeps now, and whether any of them is new. Idempotent. What
    is nowhere else any more is copied from another confidential hold's. The caller holds the organization's stripe exclusively."""
    wanted = [UUID(bytes=one) for one in record_ids]
    added = 0
    # Who copied first has the most: erasures take from rows, and nothing from copies.
    for table in (confidential_rows, retained):
        columns = [table.c[name] for name in (*COPIED, "day", "sealed_data_key")]
        copies = select(*columns).where(
            table.c.organization_id == organization_id, among(table.c.record_id, wanted)
        )
        added += _add(tx, hold_id, copies)
    for day, of_day in by_day(record_ids).items():
        added += _add(tx, hold_id, living_copies(organization_id, day, of_day))
    mine = and_(*_of(hold_id, organization_id), among(confidential_rows.c.record_id, wanted))
    return held_rows(tx, confidential_rows, mine), added > 0


def _add(tx: Connection, hold_id: str, copies: Select[Any]) -> int:
    """How many are new. copies: COPIED, "day" and "sealed_data_key". The first copy stays: what erasures take from a row later, they do not
    take from it."""
    copy = copies.subquery()
    names = (*COPIED, "day", "sealed_data_key")
    values = select(literal(hold_id, Text), *[copy.c[name] for name in names])
    return tx.execute(
        upsert(confidential_rows).from_select(["hold_id", *names], values).on_conflict_do_nothing(),
        execution_options={"preserve_rowcount": True},
    ).rowcount


def _of(hold_id: str, organization_id: str) -> tuple[Any, ...]:
    return (
        confidential_rows.c.hold_id == hold_id,
        confidential_rows.c.organization_id == organization_id,
    )


def kept_between(
    tx: Connection, hold_id: str, organization_id: str, after: bytes, last: bytes, limit: int
) -> list[bytes]:
    """Ids of what a hold keeps behind an id, up to and including another, in order: also of rows that are nowhere else any more."""
    asked = (
        select(confidential_rows.c.record_id)
        .where(
            *_of(hold_id, organization_id),
            confidential_rows.c.record_id > UUID(bytes=after),
            confidential_rows.c.record_id <= UUID(bytes=last),
        )
        .order_by(confidential_rows.c.record_id)
        .limit(limit)
    )
    return [one.bytes for one in tx.execute(asked).scalars()]


def organizations(tx: Connection, hold_id: str) -> list[str]:
    """The organizations whose records a hold keeps in secret."""
    asked = select(confidential_rows.c.organization_id).where(confidential_rows.c.hold_id == hold_id)
    return sorted(tx.execute(asked.distinct()).scalars())


def release(
    tx: Connection, hold_id: str, organization_id: str, limit: int, through: UUID | None = None
) -> tuple[int, UUID | None]:
    """Removes a hold's copies, at most so many at once; of how many records nothing is left by it, and through which id it came, None where
    that was all. through: no further than this. The caller holds the organization's stripe exclusively."""
    mine = and_(*_of(hold_id, organization_id))
    if through is not None:
        mine &= confidential_rows.c.record_id <= through
    in_order = select(confidential_rows.c.record_id).where(mine).order_by(confidential_rows.c.record_id)
    kept = list(tx.execute(in_order.limit(limit + 1)).scalars())
    removed = kept[:limit]
    tx.execute(
        delete(confidential_rows).where(
            *_of(hold_id, organization_id), among(confidential_rows.c.record_id, removed)
        )
    )
    gone = set(removed)
    for table in (interactions, retained, confidential_rows):
        if not gone:
            break
        there = select(table.c.record_id).where(
            table.c.organization_id == organization_id, among(table.c.record_id, gone)
        )
        gone -= set(tx.execute(there).scalars())
    return len(gone), removed[-1] if len(kept) > limit else None


def note_disclosed(tx: Connection, hold_id: str) -> bool:
    """Nothing is kept in secret for a locked hold from now on; whether that is new."""
    added = upsert(disclosed_holds).values(hold_id=hold_id).on_conflict_do_nothing()
    return tx.execute(added.returning(disclosed_holds.c.hold_id)).first() is not None


def _count_in(tx: Connection, organization_id: str, ids: Sequence[UUID], mine: ColumnElement[bool]) -> None:
    """Counts those of a hold's copies whose rows are there no more, and contents that the rows have lost. Of an organization that is being
    erased none: its counts stay what they were until its receipt is written."""
    is_closed = select(exists().where(organization_fences.c.organization_id == organization_id))
    if tx.execute(is_closed).scalar_one():
        return
    there: dict[UUID, bool] = {}  # whether with content
    for table in (interactions, retained):
        asked = select(table.c.record_id, table.c.content.is_not(None).label("has_content")).where(
            table.c.organization_id == organization_id, among(table.c.record_id, ids)
        )
        for row in tx.execute(asked):
            there[row.record_id] = there.get(row.record_id, False) or row.has_content
    copies = select(
        confidential_rows.c.record_id,
        confidential_rows.c.day,
        application_of(confidential_rows).label("lot"),
        confidential_rows.c.data_key_id.is_not(None).label("has_content"),
    ).where(mine)
    rows: list[Single] = []
    contents: list[Single] = []
    for row in tx.execute(copies):
        one = Single(row.day, row.lot, row.has_content)
        if row.record_id not in there:
            rows.append(one)
        elif row.has_content and not there[row.record_id]:
            contents.append(one)
    count_in(tx, organization_id, rows)
    count_contents_in(tx, organization_id, contents)


def disclose(tx: Connection, hold_id: str, organization_id: str, kind: int | None, limit: int) -> bool:
    """Moves the next copies of a hold, at most so many, to where those of ordinary holds lie; whether there may be more. The caller holds
    the organization's stripe exclusively. Where the row has lost its content, that comes back with the hold; what an erasure took, row or
    content, is counted again."""
    ids = list(
        tx.execute(
            select(confidential_rows.c.record_id)
            .where(*_of(hold_id, organization_id))
            .order_by(confidential_rows.c.record_id)
            .limit(limit)
        ).scalars()
    )
    if not ids:
        return False
    mine = and_(*_of(hold_id, organization_id), among(confidential_rows.c.record_id, ids))
    _count_in(tx, organization_id, ids, mine)
    names = (*COPIED, "day", "sealed_data_key")
    moved = upsert(retained).from_select(
        names, select(*[confidential_rows.c[name] for name in names]).where(mine)
    )
    tx.execute(
        moved.on_conflict_do_update(
            constraint="retained_pkey",
            set_={name: moved.excluded[name] for name in _CONTENT},
            where=retained.c.content.is_(None) & moved.excluded.content.is_not(None),
        )
    )
    written = select(
        confidential_rows.c.hold_id,
        confidential_rows.c.organization_id,
        confidential_rows.c.record_id,
        literal(kind, holds.c.kind.type),
    ).where(mine)
    # A look that came in between, for the hold is an ordinary one already, may have written some of them.
    tx.execute(
        upsert(holds)
        .from_select(("hold_id", "organization_id", "record_id", "kind"), written)
        .on_conflict_do_nothing()
    )
    tx.execute(delete(confidential_rows).where(mine))
    return len(ids) == limit

"""What holds keep of which the law forbids telling the customer.

Copies lie in a table of their own, and nothing else looks there: reads, counts, erasures and drops go on as if the hold were not, so that
no answer of theirs can betray it. `disclose` moves them to where the copies of ordinary holds lie.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, and_, delete, exists, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as upsert

from services.logging.store.lots import application_of
from services.logging.store.retention import COPIED, ITS_DATA_KEY, HeldRow
from services.logging.store.tables import (
    confidential_rows,
    data_keys,
    disclosed_holds,
    holds,
    interactions,
    retained,
)
from shared.ids import record_day

_CONTENT: Final = ("data_key_id", "content", "sealed_data_key")


def is_disclosed(tx: Connection, hold_id: str) -> bool:
    """Whether a locked hold's secrecy has ended; for ever then."""
    return tx.execute(select(exists().where(disclosed_holds.c.hold_id == hold_id))).scalar_one()


def hold(tx: Connection, hold_id: str, organization_id: str, record_ids: Sequence[bytes]) -> list[HeldRow]:
    """Copies rows with their sealed data keys for a hold; returns those that it keeps now. Idempotent. What is nowhere else any
    more is copied from another confidential hold's. The caller holds the organization's stripe exclusively."""
    wanted = [UUID(bytes=one) for one in sorted(record_ids)]
    columns: list[Any] = [interactions.c[name] for name in COPIED]
    # Who copied first has the most: erasures take from rows, and nothing from copies.
    for table in (confidential_rows, retained):
        _add(tx, hold_id, _copies(table, organization_id, wanted))
    _add(
        tx,
        hold_id,
        select(*columns, data_keys.c.sealed.label("sealed_data_key"))
        .outerjoin_from(interactions, data_keys, ITS_DATA_KEY)
        .where(interactions.c.organization_id == organization_id, interactions.c.record_id.in_(wanted)),
    )
    return [
        HeldRow(
            row.record_id.bytes,
            None if row.data_key_id is None else row.data_key_id.bytes,
            row.sealed_data_key,
            row.application,
        )
        for row in tx.execute(
            select(
                confidential_rows.c.record_id,
                confidential_rows.c.data_key_id,
                confidential_rows.c.sealed_data_key,
                application_of(confidential_rows).label("application"),
            )
            .where(*_of(hold_id, organization_id), confidential_rows.c.record_id.in_(wanted))
            .order_by(confidential_rows.c.record_id)
        )
    ]


def _copies(table: Table, organization_id: str, wanted: Sequence[UUID]) -> Any:
    columns = [table.c[name] for name in (*COPIED, "sealed_data_key")]
    return select(*columns).where(
        table.c.organization_id == organization_id, table.c.record_id.in_(list(wanted))
    )


def _add(tx: Connection, hold_id: str, rows: Any) -> None:
    """The first copy stays: what erasures take from a row later, they do not take from it."""
    copies = [
        dict(row) | {"hold_id": hold_id, "day": record_day(row["record_id"].bytes)}
        for row in tx.execute(rows).mappings()
    ]
    if copies:
        tx.execute(upsert(confidential_rows).on_conflict_do_nothing(), copies)


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


def release(tx: Connection, hold_id: str, organization_id: str) -> int:
    """Removes a hold's copies; of how many records nothing is left by it. The caller holds the organization's stripe exclusively."""
    gone = set(
        tx.execute(
            delete(confidential_rows)
            .where(*_of(hold_id, organization_id))
            .returning(confidential_rows.c.record_id)
        ).scalars()
    )
    for table in (interactions, retained, confidential_rows):
        if not gone:
            break
        there = select(table.c.record_id).where(
            table.c.organization_id == organization_id, table.c.record_id.in_(list(gone))
        )
        gone -= set(tx.execute(there).scalars())
    return len(gone)


def note_disclosed(tx: Connection, hold_id: str) -> None:
    """Nothing is kept in secret for a locked hold from now on."""
    tx.execute(upsert(disclosed_holds).values(hold_id=hold_id).on_conflict_do_nothing())


def disclose(tx: Connection, hold_id: str, organization_id: str, kind: int | None, limit: int) -> bool:
    """Moves the next copies of a hold, at most so many, to where those of ordinary holds lie; whether there may be more. The caller holds
    the organization's stripe exclusively. Where a term kept the row without its content, the content comes back with the hold."""
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
    mine = and_(*_of(hold_id, organization_id), confidential_rows.c.record_id.in_(ids))
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
    tx.execute(
        insert(holds).from_select(
            ("hold_id", "organization_id", "record_id", "kind"),
            select(
                confidential_rows.c.hold_id,
                confidential_rows.c.organization_id,
                confidential_rows.c.record_id,
                literal(kind, holds.c.kind.type),
            ).where(mine),
        )
    )
    tx.execute(delete(confidential_rows).where(mine))
    return len(ids) == limit

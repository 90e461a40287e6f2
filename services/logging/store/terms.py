"""What terms other than the default do to the tables: rows that are kept beyond their partition, and rows that go before it or after it.

A row that a longer term keeps is copied to `retained` before its partition is dropped, and stays counted in `stored_counts`: so a later run
finds its day like any other. Everything is done in bounded pieces, each of which can be done again.
"""

from datetime import date
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, delete, exists, select, text, update

from services.logging.store import partitions
from services.logging.store.kept import IS_HELD
from services.logging.store.tables import (
    RECORD_COLUMNS,
    data_keys,
    interactions,
    retained,
    stored_counts,
    unscreened,
)

_COLUMNS: Final = ", ".join((*RECORD_COLUMNS, "verdict", "rules_version"))
_KEEP: Final = text(
    f"INSERT INTO retained ({_COLUMNS}, day, sealed_data_key, by_term) "  # noqa: S608 - constants
    f"SELECT {', '.join('one.' + name for name in _COLUMNS.split(', '))}, CAST(:day AS date), data_keys.sealed, true "
    "FROM interactions AS one LEFT JOIN data_keys "
    "ON data_keys.organization_id = one.organization_id AND data_keys.data_key_id = one.data_key_id "
    "WHERE one.organization_id = :organization_id AND one.record_id BETWEEN :first AND :last "
    "ON CONFLICT (organization_id, record_id) DO UPDATE SET by_term = true"
)


def keep(tx: Connection, organization_id: str, day: date, after: UUID | None, limit: int) -> UUID | None:
    """Copies the next rows of a closed day, at most so many, to be kept by term; the id that this piece ended with, None where there were
    none left. The caller holds the organization's stripe shared."""
    low, high = _bounds(day, after)
    ids = _next(tx, interactions, organization_id, low, high, limit)
    if not ids:
        return None
    tx.execute(_KEEP, {"organization_id": organization_id, "day": day, "first": ids[0], "last": ids[-1]})
    return ids[-1]


def kept_on(tx: Connection, day: date) -> list[str]:
    """Organizations of which terms keep rows of a day beyond their partition."""
    asked = select(retained.c.organization_id).where(retained.c.day == day, retained.c.by_term).distinct()
    return sorted(tx.execute(asked).scalars())


def take(tx: Connection, organization_id: str, day: date, limit: int) -> bool:
    """Takes the next rows of a day away, at most so many: those of its partition, whose held copies stay, and those that a term kept.
    Whether there were any. The caller holds the organization's stripe exclusively."""
    low, high = _bounds(day, None)
    ids = _next(tx, interactions, organization_id, low, high, limit)
    if ids:
        mine = _within(interactions, organization_id, ids[0], ids[-1])
        tx.execute(delete(interactions).where(*mine))
        _unexpect(tx, organization_id, ids)
        return True
    kept = select(retained.c.record_id).where(
        *_within(retained, organization_id, low, high), retained.c.by_term
    )
    ids = list(tx.execute(kept.order_by(retained.c.record_id).limit(limit)).scalars())
    if ids:
        mine = [*_within(retained, organization_id, ids[0], ids[-1]), retained.c.by_term]
        tx.execute(delete(retained).where(*mine, ~IS_HELD))
        tx.execute(update(retained).where(*mine).values(by_term=False))  # what is left is held
        _unexpect(tx, organization_id, ids)
    return bool(ids)


def forget(tx: Connection, organization_id: str, day: date) -> None:
    """Forgets the counts and data keys of a day whose rows were taken away."""
    for table in (stored_counts, data_keys):
        tx.execute(delete(table).where(table.c.organization_id == organization_id, table.c.day == day))


def let_go(tx: Connection, organization_id: str) -> int:
    """Removes all that terms keep of an organization, but what holds keep too; how many rows."""
    mine = [retained.c.organization_id == organization_id, retained.c.by_term]
    gone = tx.execute(delete(retained).where(*mine, ~IS_HELD)).rowcount
    tx.execute(update(retained).where(*mine).values(by_term=False))
    return gone


def _bounds(day: date, after: UUID | None) -> tuple[UUID, UUID]:
    """The first and the last id of a day, both included."""
    low, high = partitions.bounds(day)
    return low if after is None else UUID(int=after.int + 1), UUID(int=high.int - 1)


def _within(table: Table, organization_id: str, first: UUID, last: UUID) -> list[Any]:
    return [table.c.organization_id == organization_id, table.c.record_id.between(first, last)]


def _next(
    tx: Connection, table: Table, organization_id: str, low: UUID, high: UUID, limit: int
) -> list[UUID]:
    asked = select(table.c.record_id).where(*_within(table, organization_id, low, high))
    return list(tx.execute(asked.order_by(table.c.record_id).limit(limit)).scalars())


def _unexpect(tx: Connection, organization_id: str, ids: list[UUID]) -> None:
    """Nothing that is gone waits to be screened; what a hold keeps does."""
    kept = exists().where(
        retained.c.organization_id == unscreened.c.organization_id,
        retained.c.record_id == unscreened.c.record_id,
    )
    tx.execute(delete(unscreened).where(*_within(unscreened, organization_id, ids[0], ids[-1]), ~kept))

"""What terms other than the default do to the tables: rows that are kept beyond their partition, and rows that go before it or after it.

A row that a longer term keeps is copied to `retained` before its partition is dropped, and stays counted in `stored_counts`: so a later run
finds its day like any other. Everything is done in bounded pieces, each of which can be done again.
"""

from datetime import date
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, Table, delete, select, text, update

from services.logging.store import partitions, screening
from services.logging.store.kept import IS_HELD
from services.logging.store.lots import application_of, is_of
from services.logging.store.tables import (
    RECORD_COLUMNS,
    data_keys,
    interactions,
    retained,
    stored_counts,
)
from shared.terms import lot_of, parts_of

_COLUMNS: Final = ", ".join((*RECORD_COLUMNS, "verdict", "rules_version"))
_KEEP: Final = text(
    f"INSERT INTO retained ({_COLUMNS}, day, sealed_data_key, by_term) "  # noqa: S608 - constants
    f"SELECT {', '.join('one.' + name for name in _COLUMNS.split(', '))}, CAST(:day AS date), data_keys.sealed, true "
    "FROM interactions AS one LEFT JOIN data_keys "
    "ON data_keys.organization_id = one.organization_id AND data_keys.data_key_id = one.data_key_id "
    "WHERE one.organization_id = :organization_id AND one.record_id BETWEEN :first AND :last "
    "AND CASE WHEN one.by_application THEN one.application ELSE '' END = :application "
    "ON CONFLICT (organization_id, record_id) DO UPDATE SET by_term = true"
)


def keep(tx: Connection, lot: str, day: date, after: UUID | None, limit: int) -> UUID | None:
    """Copies the next rows of a lot (shared.terms) and a closed day, at most so many, to be kept by term; the id that this piece ended
    with, None where there were none left. The caller holds the organization's stripe shared."""
    organization_id, application = parts_of(lot)
    ids = _next(tx, interactions, lot, _bounds(day, after), limit)
    if not ids:
        return None
    given = {"organization_id": organization_id, "application": application, "day": day}
    tx.execute(_KEEP, given | {"first": ids[0], "last": ids[-1]})
    return ids[-1]


def kept_on(tx: Connection, day: date) -> set[str]:
    """Lots of which terms keep rows of a day beyond their partition."""
    asked = select(retained.c.organization_id, application_of(retained)).where(
        retained.c.day == day, retained.c.by_term
    )
    return {lot_of(*row) for row in tx.execute(asked.distinct())}


class Piece(NamedTuple):
    """What was taken away at once. after: the id to go on behind; None where there was nothing left. unscreened: how many of the records
    waited to be screened."""

    after: UUID | None
    unscreened: int = 0


def take(tx: Connection, lot: str, day: date, after: UUID | None, limit: int) -> Piece:
    """Takes the next rows of a lot's day away, at most so many: those of its partition behind an id, whose held copies stay, and then those
    that a term kept. The caller holds the organization's stripe exclusively."""
    screening.unfold(tx, parts_of(lot)[0], partitions.bounds(day)[1])
    ids = _next(tx, interactions, lot, _bounds(day, after), limit)
    if ids:
        tx.execute(delete(interactions).where(*_within(interactions, lot, (ids[0], ids[-1]))))
        return Piece(ids[-1], _unexpect(tx, lot, ids))
    low, high = _bounds(day, None)
    ids = _next(tx, retained, lot, (low, high), limit, retained.c.by_term)
    if not ids:
        return Piece(None)
    mine = [*_within(retained, lot, (ids[0], ids[-1])), retained.c.by_term]
    tx.execute(delete(retained).where(*mine, ~IS_HELD))
    tx.execute(update(retained).where(*mine).values(by_term=False))  # what is left is held
    return Piece(high, _unexpect(tx, lot, ids))  # nothing is left in the partition


def forget(tx: Connection, lot: str, day: date) -> None:
    """Forgets the counts and data keys of a lot's day whose rows were taken away."""
    organization_id, application = parts_of(lot)
    for table in (stored_counts, data_keys):
        mine = (table.c.organization_id == organization_id, table.c.application == application)
        tx.execute(delete(table).where(*mine, table.c.day == day))


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


def _within(table: Table, lot: str, ids: tuple[UUID, UUID]) -> list[Any]:
    organization_id, application = parts_of(lot)
    mine = table.c.organization_id == organization_id
    return [mine, is_of(table, application), table.c.record_id.between(*ids)]


def _next(
    tx: Connection, table: Table, lot: str, ids: tuple[UUID, UUID], limit: int, *conditions: Any
) -> list[UUID]:
    asked = select(table.c.record_id).where(*_within(table, lot, ids), *conditions)
    return list(tx.execute(asked.order_by(table.c.record_id).limit(limit)).scalars())


# The bounds are what the index finds them by.
_UNEXPECT: Final = text(
    "DELETE FROM unscreened WHERE organization_id = :organization_id AND record_id BETWEEN :first AND :last "
    "AND record_id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS (SELECT FROM retained "
    "WHERE retained.organization_id = unscreened.organization_id AND retained.record_id = unscreened.record_id)"
)


def _unexpect(tx: Connection, lot: str, ids: list[UUID]) -> int:
    """Nothing that is gone waits to be screened; what a hold keeps does. How many waited."""
    organization_id, _ = parts_of(lot)
    given = {"organization_id": organization_id, "first": ids[0], "last": ids[-1], "ids": ids}
    return tx.execute(_UNEXPECT, given).rowcount

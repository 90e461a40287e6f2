"""Usage for product analytics: by pseudonym until a UTC day is over, then as cells of an hour and a model over a group of organizations.

No organization is named in it. Billing is another store (store/billing.py); no statement names tables of both, and they share no key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, exists, func, literal, select, text, tuple_, update
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import insert

from services.logging.store import figures
from services.logging.store.tables import analytics_cells, analytics_keys, analytics_usage
from shared.driver import execute, listed

_HOUR: Final = 3600
_ADD: Final = f"""
    WITH given AS MATERIALIZED (SELECT %(figures)t::bigint[] AS f)
    INSERT INTO analytics_usage AS had (hour, model, key_id, pseudonym, writer, {figures.COLUMNS})
    SELECT to_timestamp(hour * {_HOUR}), model, key_id, pseudonym, %(writer)s, {figures.SELECTED}
    FROM given, unnest(%(hours)t::bigint[], %(models)b::text[], %(keys)t::uuid[], %(pseudonyms)t::uuid[])
        WITH ORDINALITY AS rows (hour, model, key_id, pseudonym, i)
    ORDER BY i
    ON CONFLICT (hour, model, key_id, pseudonym, writer) DO UPDATE SET {figures.ADDED}
"""  # noqa: S608 - constants
# Organizations are counted under each key by itself: under two, one has two pseudonyms.
_FOLD: Final = text(f"""
    WITH gone AS (DELETE FROM analytics_usage WHERE hour = :hour RETURNING *),
    under_a_key AS (
        SELECT hour, model, count(DISTINCT pseudonym) AS organizations, {figures.SUMMED}
        FROM gone GROUP BY hour, model, key_id
    )
    INSERT INTO analytics_cells AS had (hour, model, organizations, {figures.COLUMNS})
    SELECT hour, model, max(organizations), {figures.SUMMED}
    FROM under_a_key GROUP BY hour, model HAVING max(organizations) >= :minimum
    ON CONFLICT (hour, model) DO UPDATE
    SET organizations = greatest(had.organizations, excluded.organizations), {figures.ADDED}
""")  # noqa: S608 - constants

# Hour since 1970, model, id of the key, pseudonym.
Place = tuple[int, str, UUID, UUID]


@dataclass(frozen=True)
class Cell:
    """An hour and a model over a group of organizations. figures: as usage.fields.FIGURES."""

    hour: datetime
    model: str
    organizations: int
    figures: Sequence[int]


def add(tx: Connection, cells: Sequence[tuple[Place, Sequence[int]]], writer: str) -> None:
    """Adds to the counts, in one statement. cells, writer: see store.billing.add; the writer is another one, for a name that stood in both
    stores would join them."""
    execute(
        tx,
        _ADD,
        {
            "figures": figures.array_of(one for _, one in cells),
            "writer": writer,
            "hours": figures.numbers_of(place[0] for place, _ in cells),
            "models": [place[1] for place, _ in cells],
            "keys": listed(place[2] for place, _ in cells),
            "pseudonyms": listed(place[3] for place, _ in cells),
        },
    )


def key_of(tx: Connection, day: date, proposed: tuple[UUID, bytes]) -> tuple[UUID, bytes]:
    """The id and the key of a day; the proposed ones where it has none yet. Waits for another transaction that is about to make them."""
    table = analytics_keys
    asked = select(table.c.key_id, table.c.key).where(table.c.day == day)
    found = tx.execute(asked).one_or_none()
    if found is None:
        tx.execute(
            insert(table).values(day=day, key_id=proposed[0], key=proposed[1]).on_conflict_do_nothing()
        )
        found = tx.execute(asked).one()
    return found.key_id, bytes(found.key)


def keys(tx: Connection) -> list[tuple[UUID, bytes]]:
    """All keys that there are, with their ids."""
    table = analytics_keys
    return [(row.key_id, bytes(row.key)) for row in tx.execute(select(table.c.key_id, table.c.key))]


def has_keys(tx: Connection, before: date) -> bool:
    """Whether there are keys of days before that one."""
    return tx.execute(select(exists().where(analytics_keys.c.day < before))).scalar_one()


def destroy_keys(tx: Connection, before: date) -> None:
    """Takes out the keys of days before that one. The table is made anew without them: what is only deleted stays in its file. Locks first
    and reads after, in a transaction that has done nothing yet: two that are at it wait for each other, in no circle."""
    table = analytics_keys
    tx.execute(text("SET LOCAL lock_timeout = '250ms'"))  # who counts and asks for a key must not wait longer
    tx.execute(text("LOCK TABLE analytics_keys IN ACCESS EXCLUSIVE MODE"))
    rows = tx.execute(select(table)).mappings().all()
    living = [dict(row) for row in rows if row["day"] >= before]
    if len(living) < len(rows):
        tx.execute(text("TRUNCATE analytics_keys"))
        if living:
            tx.execute(insert(table), living)


def rename(tx: Connection, key_id: UUID, pseudonym: UUID, new: UUID) -> None:
    """Gives rows another pseudonym."""
    table = analytics_usage
    tx.execute(
        update(table).where(table.c.pseudonym == pseudonym, table.c.key_id == key_id).values(pseudonym=new)
    )


def oldest_hour(tx: Connection, before: datetime) -> datetime | None:
    """The oldest hour before that one of which there are rows by pseudonym."""
    table = analytics_usage
    found: datetime | None = tx.execute(
        select(func.min(table.c.hour)).where(table.c.hour < before)
    ).scalar_one()
    return found


def fold(tx: Connection, hour: datetime, minimum: int) -> None:
    """Makes cells of an hour's rows, of at least so many organizations; what is below is gone."""
    tx.execute(_FOLD, {"hour": hour, "minimum": minimum})


def read(
    tx: Connection,
    begins: datetime,
    ends: datetime,
    *,
    minimum: int,
    model: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Cell]:
    """Cells of [begins, ends) of at least so many organizations, by hour and model. after: where the page before ended."""
    table = analytics_cells
    rows = select(table).where(table.c.hour >= begins, table.c.hour < ends, table.c.organizations >= minimum)
    if model is not None:
        rows = rows.where(table.c.model == model)
    if after is not None:
        past: Any = tuple_(literal(after[0], sql.DateTime(timezone=True)), literal(after[1], sql.Text))
        rows = rows.where(tuple_(table.c.hour, table.c.model) > past)
    found = tx.execute(rows.order_by(table.c.hour, table.c.model).limit(limit))
    return [Cell(row.hour, row.model, row.organizations, figures.figures_of(row)) for row in found]

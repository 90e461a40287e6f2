"""Queries of destructions: what was asked for, how far it is, and which root it waits for."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store.custody import destructions, roots


@dataclass(frozen=True)
class DestructionRow:
    """A destruction. target_kind: through_day, organization, content or hold. state: marking, marked, switched, done."""

    destruction_id: str
    target_kind: str
    target: str
    state: str
    marked_through: str
    epochs: int
    organizations: int
    begun_at: datetime
    marked_at: datetime | None
    root_id: str | None
    destroyed_at: datetime | None
    key_store_statement: str


def begin_destruction(
    tx: Connection, destruction_id: str, target_kind: str, target: str, at: datetime
) -> None:
    """Adds a destruction, unless the id is known."""
    tx.execute(
        insert(destructions)
        .values(
            destruction_id=destruction_id,
            target_kind=target_kind,
            target=target,
            state="marking",
            marked_through="",
            epochs=0,
            organizations=0,
            begun_at=at,
            key_store_statement="",
        )
        .on_conflict_do_nothing()
    )


def read_destruction(tx: Connection, destruction_id: str, *, lock: bool = False) -> DestructionRow | None:
    """A destruction."""
    statement = select(destructions).where(destructions.c.destruction_id == destruction_id)
    row = tx.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else DestructionRow(*row)


def marking(tx: Connection) -> list[DestructionRow]:
    """Destructions that have not marked everything yet, oldest first."""
    rows = tx.execute(
        select(destructions)
        .where(destructions.c.state == "marking")
        .order_by(destructions.c.begun_at, destructions.c.destruction_id)
    )
    return [DestructionRow(*row) for row in rows]


def unfinished(tx: Connection) -> list[DestructionRow]:
    """Destructions that are not done, oldest first."""
    rows = tx.execute(
        select(destructions)
        .where(destructions.c.state != "done")
        .order_by(destructions.c.begun_at, destructions.c.destruction_id)
    )
    return [DestructionRow(*row) for row in rows]


def is_anything_marked(tx: Connection) -> bool:
    """Whether a destruction waits for the root to be replaced."""
    statement = select(destructions.c.destruction_id).where(destructions.c.state == "marked").limit(1)
    return tx.execute(statement).first() is not None


def note_marks(tx: Connection, destruction_id: str, *, epochs: int, organizations: int, at: datetime) -> None:
    """Counts what was marked just now, in the marks' own transaction."""
    tx.execute(
        update(destructions)
        .where(destructions.c.destruction_id == destruction_id)
        .values(
            epochs=destructions.c.epochs + epochs,
            organizations=destructions.c.organizations + organizations,
            marked_at=func.coalesce(destructions.c.marked_at, at),
        )
    )


def note_progress(tx: Connection, destruction_id: str, organization_id: str) -> None:
    """Organizations up to this one need not be looked at again."""
    tx.execute(
        update(destructions)
        .where(destructions.c.destruction_id == destruction_id)
        .values(marked_through=func.greatest(destructions.c.marked_through, organization_id))
    )


def end_marking(tx: Connection, row: DestructionRow, at: datetime, statement: str) -> None:
    """Everything is marked. Where nothing was, by nobody whose destruction is still under way, it is done at once."""
    others = tx.execute(
        select(destructions.c.destruction_id)
        .where(destructions.c.state != "done", destructions.c.destruction_id != row.destruction_id)
        .where(destructions.c.marked_at.is_not(None))
        .limit(1)
    ).first()
    if row.marked_at is None and others is None:
        values: dict[str, object] = {"state": "done", "destroyed_at": at, "key_store_statement": statement}
    else:
        values = {"state": "marked"}
    tx.execute(
        update(destructions)
        .where(destructions.c.destruction_id == row.destruction_id, destructions.c.state == "marking")
        .values(**values)
    )


def finish_root(tx: Connection, root_id: str, at: datetime, statement: str) -> list[DestructionRow]:
    """The root is destroyed, and with it what these destructions marked."""
    tx.execute(update(roots).where(roots.c.root_id == root_id).values(destroyed_at=at))
    rows = tx.execute(
        update(destructions)
        .where(destructions.c.root_id == root_id, destructions.c.state == "switched")
        .values(state="done", destroyed_at=at, key_store_statement=statement)
        .returning(*destructions.c)
    )
    return [DestructionRow(*row) for row in rows]

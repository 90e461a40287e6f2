"""Queries of organizations' keys and their epochs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, and_, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store.custody import epoch_keys, organization_keys, rewrap


@dataclass(frozen=True)
class OrganizationRow:
    """An organization's key. root_id and wrapped are None once it wraps nothing any more; closed_at is its tombstone."""

    organization_id: str
    generation: int
    root_id: str | None
    wrapped: bytes | None
    closed_at: datetime | None


@dataclass(frozen=True)
class EpochRow:
    """An epoch. wrapped is None and marked_at set once it is destroyed: the tombstone stays for ever."""

    organization_id: str
    day: date
    epoch_key_id: str
    public_key: bytes
    wrapped: bytes | None
    marked_at: datetime | None


_ORGANIZATION = (
    organization_keys.c.organization_id,
    organization_keys.c.generation,
    organization_keys.c.root_id,
    organization_keys.c.wrapped,
    organization_keys.c.closed_at,
)
_EPOCH = (
    epoch_keys.c.organization_id,
    epoch_keys.c.day,
    epoch_keys.c.epoch_key_id,
    epoch_keys.c.public_key,
    epoch_keys.c.wrapped,
    epoch_keys.c.marked_at,
)


def add_organization(tx: Connection, row: OrganizationRow, at: datetime) -> None:
    """Adds an organization's key, unless it has one."""
    tx.execute(
        insert(organization_keys)
        .values(
            organization_id=row.organization_id,
            generation=row.generation,
            root_id=row.root_id,
            wrapped=row.wrapped,
            made_at=at,
            closed_at=row.closed_at,
        )
        .on_conflict_do_nothing()
    )


def lock_organization(tx: Connection, organization_id: str, *, share: bool = False) -> OrganizationRow | None:
    """An organization's row, locked: shared by who opens with its keys, exclusively by who changes them."""
    statement = select(*_ORGANIZATION).where(organization_keys.c.organization_id == organization_id)
    row = tx.execute(statement.with_for_update(read=share)).one_or_none()
    return None if row is None else OrganizationRow(*row)


def replace_organization(tx: Connection, row: OrganizationRow, at: datetime) -> None:
    """Gives an organization another key, or none."""
    tx.execute(
        update(organization_keys)
        .where(organization_keys.c.organization_id == row.organization_id)
        .values(
            generation=row.generation,
            root_id=row.root_id,
            wrapped=row.wrapped,
            closed_at=row.closed_at,
            made_at=at,
        )
    )


def organizations_after(tx: Connection, after: str, limit: int) -> list[OrganizationRow]:
    """Organizations that have a key, in order of id."""
    rows = tx.execute(
        select(*_ORGANIZATION)
        .where(organization_keys.c.organization_id > after, organization_keys.c.wrapped.is_not(None))
        .order_by(organization_keys.c.organization_id)
        .limit(limit)
    )
    return [OrganizationRow(*row) for row in rows]


def rewrap_organizations(tx: Connection, root_id: str, wrapped: Mapping[str, bytes]) -> None:
    """Puts organizations' keys under another root."""
    rewrap(tx, "organization_keys", "organization_id", root_id, wrapped)


def read_epochs(tx: Connection, organization_id: str, days: Iterable[date] | None = None) -> list[EpochRow]:
    """An organization's epochs, of these days or all, tombstones included."""
    statement = (
        select(*_EPOCH).where(epoch_keys.c.organization_id == organization_id).order_by(epoch_keys.c.day)
    )
    if days is not None:
        statement = statement.where(epoch_keys.c.day.in_(sorted(days)))
    return [EpochRow(*row) for row in tx.execute(statement)]


def add_epoch(tx: Connection, row: EpochRow, at: datetime) -> None:
    """Adds an epoch."""
    tx.execute(
        insert(epoch_keys).values(
            organization_id=row.organization_id,
            day=row.day,
            epoch_key_id=row.epoch_key_id,
            public_key=row.public_key,
            wrapped=row.wrapped,
            made_at=at,
        )
    )


def mark_epochs(
    tx: Connection, organization_id: str, days: Sequence[date], destruction_id: str, at: datetime
) -> None:
    """Makes tombstones of epochs."""
    tx.execute(
        update(epoch_keys)
        .where(epoch_keys.c.organization_id == organization_id, epoch_keys.c.day.in_(days))
        .values(wrapped=None, marked_at=at, destruction_id=destruction_id)
    )


def rewrap_epochs(tx: Connection, organization_id: str, wrapped: Mapping[date, bytes]) -> None:
    """Puts an organization's surviving epochs under its new key."""
    tx.execute(
        text(
            "UPDATE epoch_keys SET wrapped = fresh.wrapped FROM unnest(CAST(:days AS date[]), CAST(:keys AS bytea[])) "
            "AS fresh(day, wrapped) WHERE epoch_keys.organization_id = :organization_id AND epoch_keys.day = fresh.day"
        ),
        {"organization_id": organization_id, "days": list(wrapped), "keys": list(wrapped.values())},
    )


def organizations_through(tx: Connection, day: date, after: str, limit: int) -> list[str]:
    """Organizations that have unmarked epochs up to and including a day, in order of id."""
    rows = tx.execute(
        select(epoch_keys.c.organization_id)
        .distinct()
        .where(
            epoch_keys.c.day <= day, epoch_keys.c.marked_at.is_(None), epoch_keys.c.organization_id > after
        )
        .order_by(epoch_keys.c.organization_id)
        .limit(limit)
    )
    return list(rows.scalars())


def destroyed_epochs(
    tx: Connection, destruction_id: str, after: tuple[str, date] | None, limit: int
) -> list[EpochRow]:
    """The epochs that a destruction marked, by organization and day."""
    statement = select(*_EPOCH).where(epoch_keys.c.destruction_id == destruction_id)
    if after is not None:
        statement = statement.where(
            or_(
                epoch_keys.c.organization_id > after[0],
                and_(epoch_keys.c.organization_id == after[0], epoch_keys.c.day > after[1]),
            )
        )
    rows = tx.execute(statement.order_by(epoch_keys.c.organization_id, epoch_keys.c.day).limit(limit))
    return [EpochRow(*row) for row in rows]

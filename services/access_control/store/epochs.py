"""Queries of organizations' keys and their epochs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, LiteralString

from sqlalchemy import Connection, Date, Text, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store.custody import epoch_keys, organization_keys
from shared.driver import driver_of, execute
from shared.terms import lot_of


@dataclass(frozen=True)
class OrganizationRow:
    """An organization's key. root_id and wrapped are None once it wraps nothing any more; closed_at is its tombstone. withholds: keys of
    some of its records are released to nobody; told by `lock_organization` alone."""

    organization_id: str
    generation: int
    root_id: str | None
    wrapped: bytes | None
    closed_at: datetime | None
    withholds: bool = False


@dataclass(frozen=True)
class EpochRow:
    """An epoch. wrapped is None and marked_at set once it is destroyed: the tombstone stays for ever. application: whose own it is; "" for
    all others."""

    organization_id: str
    day: date
    epoch_key_id: str
    public_key: bytes
    wrapped: bytes | None
    marked_at: datetime | None
    application: str = ""


@dataclass(frozen=True)
class LivingEpoch:
    """An epoch that is not destroyed, without its public half."""

    organization_id: str
    day: date
    epoch_key_id: str
    wrapped: bytes
    application: str = ""

    @property
    def lot(self) -> str:
        """Whose records it opens (shared.terms)."""
        return lot_of(self.organization_id, self.application)


_ORGANIZATION = (
    organization_keys.c.organization_id,
    organization_keys.c.generation,
    organization_keys.c.root_id,
    organization_keys.c.wrapped,
    organization_keys.c.closed_at,
)
_LOCK: Final[LiteralString] = (
    "SELECT organization_id, generation, root_id, wrapped, closed_at, withholds FROM organization_keys "
    "WHERE organization_id = %s FOR UPDATE"
)
_LOCK_SHARED: Final[LiteralString] = _LOCK.replace("FOR UPDATE", "FOR SHARE")
_EPOCH = (
    epoch_keys.c.organization_id,
    epoch_keys.c.day,
    epoch_keys.c.epoch_key_id,
    epoch_keys.c.public_key,
    epoch_keys.c.wrapped,
    epoch_keys.c.marked_at,
    epoch_keys.c.application,
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
    cursor = driver_of(tx).cursor(binary=True)
    cursor.execute(_LOCK_SHARED if share else _LOCK, (organization_id,))
    row = cursor.fetchone()
    return None if row is None else OrganizationRow(*row)


def lock_organizations(
    tx: Connection, organization_ids: Sequence[str], *, wait: bool
) -> list[OrganizationRow]:
    """Rows of organizations that have a key, locked exclusively; without `wait` only those that nobody else has locked."""
    statement = (
        select(*_ORGANIZATION)
        .where(
            organization_keys.c.organization_id.in_(organization_ids),
            organization_keys.c.wrapped.is_not(None),
        )
        .order_by(organization_keys.c.organization_id)
        .with_for_update(skip_locked=not wait)
    )
    return [OrganizationRow(*row) for row in tx.execute(statement)]


def close_organization(tx: Connection, organization_id: str, at: datetime) -> None:
    """Makes a tombstone of an organization's key."""
    tx.execute(
        update(organization_keys)
        .where(organization_keys.c.organization_id == organization_id)
        .values(root_id=None, wrapped=None, closed_at=at, made_at=at)
    )


def replace_organizations(tx: Connection, rows: Sequence[OrganizationRow], at: datetime) -> None:
    """Gives organizations other keys, which all hang on one root."""
    execute(
        tx,
        "UPDATE organization_keys SET generation = fresh.generation, wrapped = fresh.wrapped, root_id = %(root_id)s, made_at = %(at)s "
        "FROM unnest(%(ids)b::text[], %(generations)b::int[], %(keys)b::bytea[]) AS fresh(id, generation, wrapped) "
        "WHERE organization_keys.organization_id = fresh.id",
        {
            "root_id": rows[0].root_id,
            "at": at,
            "ids": [row.organization_id for row in rows],
            "generations": [row.generation for row in rows],
            "keys": [row.wrapped for row in rows],
        },
    )


def organizations_after(tx: Connection, after: str, limit: int) -> list[OrganizationRow]:
    """Organizations that have a key, in order of id."""
    cursor = driver_of(tx).cursor(binary=True)
    cursor.execute(
        "SELECT organization_id, generation, root_id, wrapped, closed_at FROM organization_keys "
        "WHERE organization_id > %s AND wrapped IS NOT NULL ORDER BY organization_id LIMIT %s",
        (after, limit),
    )
    return [OrganizationRow(*row) for row in cursor]


def rewrap_organizations(tx: Connection, root_id: str, wrapped: Mapping[str, bytes]) -> None:
    """Puts organizations' keys under another root."""
    execute(
        tx,
        "UPDATE organization_keys SET wrapped = fresh.wrapped, root_id = %(root_id)s "
        "FROM unnest(%(ids)b::text[], %(keys)b::bytea[]) AS fresh(id, wrapped) WHERE organization_keys.organization_id = fresh.id",
        {"root_id": root_id, "ids": list(wrapped), "keys": list(wrapped.values())},
    )


def read_epoch(tx: Connection, organization_id: str, day: date, application: str = "") -> EpochRow | None:
    """An epoch, or its tombstone."""
    row = tx.execute(
        select(*_EPOCH).where(
            epoch_keys.c.organization_id == organization_id,
            epoch_keys.c.day == day,
            epoch_keys.c.application == application,
        )
    ).one_or_none()
    return None if row is None else EpochRow(*row)


def living_epochs(
    tx: Connection, organization_ids: Sequence[str], days: Collection[date] | None = None
) -> list[LivingEpoch]:
    """The epochs of organizations that are not destroyed, of these days or all, by organization, day and application."""
    cursor = driver_of(tx).cursor(binary=True)
    cursor.execute(
        "SELECT organization_id, day, epoch_key_id, wrapped, application FROM epoch_keys WHERE organization_id = ANY(%(ids)s) "
        "AND (%(days)s::date[] IS NULL OR day = ANY(%(days)s)) AND marked_at IS NULL ORDER BY organization_id, day, application",
        {"ids": list(organization_ids), "days": None if days is None else list(days)},
    )
    return [LivingEpoch(*row) for row in cursor]


def public_keys(tx: Connection, organization_id: str) -> dict[str, bytes]:
    """The public halves of an organization's epochs that are not destroyed, by epoch key id."""
    rows = tx.execute(
        select(epoch_keys.c.epoch_key_id, epoch_keys.c.public_key).where(
            epoch_keys.c.organization_id == organization_id, epoch_keys.c.marked_at.is_(None)
        )
    )
    return {row.epoch_key_id: row.public_key for row in rows}


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
            application=row.application,
        )
    )


def mark_epochs(tx: Connection, marked: Sequence[LivingEpoch], destruction_id: str, at: datetime) -> None:
    """Makes tombstones of epochs."""
    execute(
        tx,
        "UPDATE epoch_keys SET wrapped = NULL, marked_at = %(at)s, destruction_id = %(destruction_id)s "
        "FROM unnest(%(ids)b::text[], %(days)b::date[], %(applications)b::text[]) AS gone(id, day, application) "
        "WHERE epoch_keys.organization_id = gone.id AND epoch_keys.day = gone.day AND epoch_keys.application = gone.application",
        {
            "at": at,
            "destruction_id": destruction_id,
            "ids": [epoch.organization_id for epoch in marked],
            "days": [epoch.day for epoch in marked],
            "applications": [epoch.application for epoch in marked],
        },
    )


def rewrap_epochs(tx: Connection, survivors: Sequence[tuple[LivingEpoch, bytes]]) -> None:
    """Puts surviving epochs under the new keys of their organizations. survivors: with what they are wrapped to now."""
    execute(
        tx,
        "UPDATE epoch_keys SET wrapped = fresh.wrapped "
        "FROM unnest(%(ids)b::text[], %(days)b::date[], %(applications)b::text[], %(keys)b::bytea[]) "
        "AS fresh(id, day, application, wrapped) "
        "WHERE epoch_keys.organization_id = fresh.id AND epoch_keys.day = fresh.day AND epoch_keys.application = fresh.application",
        {
            "ids": [epoch.organization_id for epoch, _ in survivors],
            "days": [epoch.day for epoch, _ in survivors],
            "applications": [epoch.application for epoch, _ in survivors],
            "keys": [wrapped for _, wrapped in survivors],
        },
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
    tx: Connection, destruction_id: str, after: tuple[str, date, str] | None, limit: int
) -> list[EpochRow]:
    """The epochs that a destruction marked, by organization, day and application."""
    statement = select(*_EPOCH).where(epoch_keys.c.destruction_id == destruction_id)
    place = (epoch_keys.c.organization_id, epoch_keys.c.day, epoch_keys.c.application)
    if after is not None:
        statement = statement.where(
            tuple_(*place) > tuple_(literal(after[0], Text), literal(after[1], Date), literal(after[2], Text))
        )
    rows = tx.execute(statement.order_by(*place).limit(limit))
    return [EpochRow(*row) for row in rows]

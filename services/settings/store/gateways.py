"""Gateway registrations that are in force or about to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from services.settings.store.tables import gateways


@dataclass(frozen=True)
class Gateway:
    """One registration, in force from `effective_at` on."""

    name: str
    all_organizations: bool
    organization_ids: Sequence[str]
    effective_at: datetime


def lock(tx: Connection, name: str) -> None:
    """Nobody else changes this name's registration, existing or not, before this transaction ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("gateway:" + name, 0))))


def find(tx: Connection, name: str) -> Gateway | None:
    """The registration of a name."""
    row = tx.execute(select(gateways).where(gateways.c.name == name)).one_or_none()
    return None if row is None else Gateway(**row._mapping)


def put(tx: Connection, gateway: Gateway) -> None:
    """Registers, or replaces what was registered."""
    values = {
        "all_organizations": gateway.all_organizations,
        "organization_ids": list(gateway.organization_ids),
        "effective_at": gateway.effective_at,
    }
    tx.execute(
        insert(gateways)
        .values(name=gateway.name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=values)
    )


def remove(tx: Connection, name: str) -> None:
    """Forgets a registration that was revoked."""
    tx.execute(delete(gateways).where(gateways.c.name == name))


def list_all(tx: Connection, limit: int) -> list[Gateway]:
    """By name."""
    rows = tx.execute(select(gateways).order_by(gateways.c.name).limit(limit))
    return [Gateway(**row._mapping) for row in rows]

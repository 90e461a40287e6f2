"""Queries of what holds keep of which the law forbids telling the customer. Who opens records does not ask here."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.access_control.store.custody import confidential_records, hold_keys, retained_records
from services.access_control.store.holds import RetainedRow, forgotten
from shared.database import among
from shared.driver import execute


def is_disclosed(tx: Connection, hold_id: str) -> bool:
    """Whether a locked hold's secrecy has ended."""
    asked = select(hold_keys.c.disclosed_at).where(hold_keys.c.hold_id == hold_id)
    return tx.execute(asked).scalar_one_or_none() is not None


def kept_by(tx: Connection, hold_id: str, record_ids: Collection[bytes]) -> set[bytes]:
    """Which of these records a hold keeps in secret already."""
    asked = select(confidential_records.c.record_id).where(
        confidential_records.c.hold_id == hold_id, among(confidential_records.c.record_id, record_ids)
    )
    return set(tx.execute(asked).scalars())


def read(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> list[RetainedRow]:
    """Where confidential holds keep these records; the hold rows are locked shared."""
    asked = (
        select(
            confidential_records.c.record_id,
            confidential_records.c.hold_id,
            confidential_records.c.wrapped,
            hold_keys.c.root_id,
            hold_keys.c.wrapped.label("hold_wrapped"),
        )
        .join(hold_keys, hold_keys.c.hold_id == confidential_records.c.hold_id)
        .where(
            confidential_records.c.organization_id == organization_id,
            among(confidential_records.c.record_id, record_ids),
            hold_keys.c.wrapped.is_not(None),
        )
        .order_by(confidential_records.c.hold_id, confidential_records.c.record_id)
        .with_for_update(read=True, of=hold_keys)
    )
    return [RetainedRow(*row) for row in tx.execute(asked)]


def retain(tx: Connection, hold_id: str, organization_id: str, wrapped: Mapping[bytes, bytes | None]) -> None:
    """Keeps records for a hold."""
    execute(
        tx,
        "INSERT INTO confidential_records (hold_id, organization_id, record_id, wrapped) "
        "SELECT %(hold_id)b, %(organization_id)b, fresh.record_id, fresh.wrapped "
        "FROM unnest(%(ids)b::bytea[], %(keys)b::bytea[]) AS fresh(record_id, wrapped)",
        {
            "hold_id": hold_id,
            "organization_id": organization_id,
            "ids": list(wrapped),
            "keys": list(wrapped.values()),
        },
    )


def bury(tx: Connection, hold_id: str) -> dict[str, int]:
    """Forgets what a hold kept in secret. How many records, by organization."""
    return forgotten(tx, confidential_records, hold_id)


def disclose(tx: Connection, hold_id: str, now: datetime) -> dict[str, int]:
    """Makes a locked hold an ordinary one. How many records are moved, by organization."""
    tx.execute(
        update(hold_keys)
        .where(hold_keys.c.hold_id == hold_id, hold_keys.c.disclosed_at.is_(None))
        .values(disclosed_at=now)
    )
    names = ("hold_id", "record_id", "organization_id", "wrapped")
    moved = select(*[confidential_records.c[name] for name in names]).where(
        confidential_records.c.hold_id == hold_id
    )
    tx.execute(upsert(retained_records).from_select(names, moved).on_conflict_do_nothing())
    return bury(tx, hold_id)

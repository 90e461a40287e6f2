"""API keys: of a key only its SHA-256 is stored."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.logging.v1 import interactions_pb2
from services.settings.store.tables import api_keys


@dataclass(frozen=True)
class ApiKey:
    """One key. number: grows with every registration, over all organizations. fingerprint: 32 bytes."""

    api_key_id: str
    number: int
    organization_id: str
    request_id: str
    name: str
    kind: "interactions_pb2.ApiKeyKind.ValueType"
    fingerprint: bytes
    registered_by: str
    registered_at: datetime
    revoked_by: str | None = None
    revoked_at: datetime | None = None


def lock(tx: Connection, fingerprint: bytes, *, shared: bool = False) -> None:
    """Who is told whose key this is (`shared`) and who ends it do so one after the other, until this transaction ends; read after it.
    In memory: a lock on the row would be a write, which every answer would wait for."""
    take = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    tx.execute(select(take(func.hashtextextended("api_key:" + fingerprint.hex(), 0))))


def add(tx: Connection, key: ApiKey) -> ApiKey | None:
    """The key with its number, or None when its fingerprint is taken. The organization's row is locked."""
    row = tx.execute(
        insert(api_keys)
        .values(
            api_key_id=key.api_key_id,
            organization_id=key.organization_id,
            request_id=key.request_id,
            name=key.name,
            kind=key.kind,
            fingerprint=key.fingerprint,
            registered_by=key.registered_by,
            registered_at=key.registered_at,
        )
        .on_conflict_do_nothing(index_elements=["fingerprint"])
        .returning(api_keys)
    ).one_or_none()
    return None if row is None else ApiKey(**row._mapping)


def find(tx: Connection, api_key_id: str) -> ApiKey | None:
    """One key."""
    row = tx.execute(select(api_keys).where(api_keys.c.api_key_id == api_key_id)).one_or_none()
    return None if row is None else ApiKey(**row._mapping)


def find_by_request(tx: Connection, organization_id: str, request_id: str) -> ApiKey | None:
    """The key that a request of this organization registered."""
    row = tx.execute(
        select(api_keys).where(
            api_keys.c.organization_id == organization_id, api_keys.c.request_id == request_id
        )
    ).one_or_none()
    return None if row is None else ApiKey(**row._mapping)


def find_by_fingerprint(tx: Connection, fingerprint: bytes) -> ApiKey | None:
    """The key with this fingerprint, whosever it is."""
    row = tx.execute(select(api_keys).where(api_keys.c.fingerprint == fingerprint)).one_or_none()
    return None if row is None else ApiKey(**row._mapping)


def counts(tx: Connection, organization_id: str) -> tuple[int, int]:
    """How many keys of an organization are in use, and how many there are with those that are revoked."""
    row = tx.execute(
        select(
            func.count().filter(api_keys.c.revoked_at.is_(None)).label("in_use"),
            func.count().label("altogether"),
        ).where(api_keys.c.organization_id == organization_id)
    ).one()
    return row.in_use, row.altogether


def list_after(tx: Connection, organization_id: str, number: int, limit: int) -> list[ApiKey]:
    """At most `limit`, in order of registration, after the one with that number."""
    rows = tx.execute(
        select(api_keys)
        .where(api_keys.c.organization_id == organization_id, api_keys.c.number > number)
        .order_by(api_keys.c.number)
        .limit(limit)
    )
    return [ApiKey(**row._mapping) for row in rows]


def revoke(tx: Connection, api_key_id: str, revoked_by: str, revoked_at: datetime) -> None:
    """Ended for good; the organization's row is locked."""
    tx.execute(
        update(api_keys)
        .where(api_keys.c.api_key_id == api_key_id)
        .values(revoked_by=revoked_by, revoked_at=revoked_at)
    )


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's keys; how many."""
    return tx.execute(delete(api_keys).where(api_keys.c.organization_id == organization_id)).rowcount

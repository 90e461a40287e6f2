"""How much the public wrote lately."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.settings.store.trust_tables import public_requests


@dataclass(frozen=True)
class Window:
    """Requests since an instant."""

    requests: int
    began_at: datetime


def lock(tx: Connection, subjects: Collection[bytes], now: datetime) -> dict[bytes, Window]:
    """The window of each of these, locked, in the order of their keys; an empty one where there is no row."""
    keys = sorted(subjects)
    tx.execute(
        insert(public_requests)
        .values([{"subject_sha256": key, "requests": 0, "began_at": now} for key in keys])
        .on_conflict_do_nothing()
    )
    rows = tx.execute(
        select(public_requests)
        .where(public_requests.c.subject_sha256.in_(keys))
        .order_by(public_requests.c.subject_sha256)
        .with_for_update()
    )
    return {row.subject_sha256: Window(row.requests, row.began_at) for row in rows}


def put(tx: Connection, subject: bytes, window: Window) -> None:
    """Writes the window of one that is locked."""
    tx.execute(
        update(public_requests)
        .where(public_requests.c.subject_sha256 == subject)
        .values(requests=window.requests, began_at=window.began_at)
    )


def remove_older(tx: Connection, before: datetime, limit: int) -> int:
    """Forgets windows that began before an instant, `limit` at most. Returns how many."""
    old = (
        select(public_requests.c.subject_sha256)
        .where(public_requests.c.began_at < before)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return tx.execute(delete(public_requests).where(public_requests.c.subject_sha256.in_(old))).rowcount

"""Failed sign-ins, counted."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from services.settings.store.tables import sign_in_failures


@dataclass(frozen=True)
class Failures:
    """How many there were, and when the last one was."""

    failures: int
    last_at: datetime


def lock(tx: Connection, subjects: Collection[bytes], now: datetime) -> dict[bytes, Failures]:
    """The failures of each of these, locked, in the order of their keys; none so far where there is no row."""
    keys = sorted(subjects)
    tx.execute(
        insert(sign_in_failures)
        .values([{"subject_sha256": key, "failures": 0, "last_at": now} for key in keys])
        .on_conflict_do_nothing()
    )
    rows = tx.execute(
        select(sign_in_failures)
        .where(sign_in_failures.c.subject_sha256.in_(keys))
        .order_by(sign_in_failures.c.subject_sha256)
        .with_for_update()
    )
    return {row.subject_sha256: Failures(row.failures, row.last_at) for row in rows}


def put(tx: Connection, subject: bytes, failures: Failures) -> None:
    """Writes the failures of one that is locked."""
    tx.execute(
        update(sign_in_failures)
        .where(sign_in_failures.c.subject_sha256 == subject)
        .values(failures=failures.failures, last_at=failures.last_at)
    )


def remove_older(tx: Connection, before: datetime, limit: int) -> int:
    """Forgets those whose last one was before an instant, `limit` at most. Returns how many."""
    old = (
        select(sign_in_failures.c.subject_sha256)
        .where(sign_in_failures.c.last_at < before)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return tx.execute(delete(sign_in_failures).where(sign_in_failures.c.subject_sha256.in_(old))).rowcount

"""Deletions of organizations' accounts. Of a claim only its SHA-256 is stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from kept.settings.v1 import account_pb2
from services.settings.store.tables import account_deletions as deletions


@dataclass(frozen=True)
class AccountDeletion:
    """One deletion. erases_at, confirmed_by, confirmed_at, claim_sha256: set once confirmed. erasure_id: once retention has taken over."""

    account_deletion_id: str
    organization_id: str
    state: "account_pb2.AccountDeletionState.ValueType"
    confirmation_sentence: str
    requested_by: str
    requested_at: datetime
    confirmed_by: str | None = None
    erases_at: datetime | None = None
    claim_sha256: bytes | None = None
    confirmed_at: datetime | None = None
    cancelled_by: str | None = None
    cancelled_at: datetime | None = None
    erasure_id: str | None = None


def _made(row: Row[Any]) -> AccountDeletion:
    return AccountDeletion(**row._mapping)


def add(tx: Connection, deletion: AccountDeletion) -> None:
    """Adds a deletion; the organization's row is locked, and no other deletion of it goes on."""
    tx.execute(
        insert(deletions).values(
            account_deletion_id=deletion.account_deletion_id,
            organization_id=deletion.organization_id,
            state=deletion.state,
            confirmation_sentence=deletion.confirmation_sentence,
            requested_by=deletion.requested_by,
            requested_at=deletion.requested_at,
        )
    )


def lock(tx: Connection, account_deletion_id: str) -> AccountDeletion | None:
    """One deletion; nobody changes it before this transaction ends."""
    row = tx.execute(
        select(deletions).where(deletions.c.account_deletion_id == account_deletion_id).with_for_update()
    ).one_or_none()
    return None if row is None else _made(row)


def newest(tx: Connection, organization_id: str) -> AccountDeletion | None:
    """The organization's newest; one that goes on comes before cancelled ones."""
    row = tx.execute(
        select(deletions)
        .where(deletions.c.organization_id == organization_id)
        .order_by(
            (deletions.c.state == account_pb2.ACCOUNT_DELETION_STATE_CANCELLED),
            deletions.c.requested_at.desc(),
            deletions.c.account_deletion_id,
        )
        .limit(1)
    ).one_or_none()
    return None if row is None else _made(row)


def lock_due(tx: Connection, now: datetime, limit: int) -> list[AccountDeletion]:
    """Confirmed ones whose grace period is over and that nobody else holds; locked."""
    rows = tx.execute(
        select(deletions)
        .where(
            deletions.c.state == account_pb2.ACCOUNT_DELETION_STATE_CONFIRMED, deletions.c.erases_at <= now
        )
        .order_by(deletions.c.erases_at, deletions.c.account_deletion_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_made(row) for row in rows]


def update_to(tx: Connection, deletion: AccountDeletion) -> None:
    """Stores what changed of a locked deletion: state, confirmation, claim."""
    tx.execute(
        update(deletions)
        .where(deletions.c.account_deletion_id == deletion.account_deletion_id)
        .values(
            state=deletion.state,
            confirmed_by=deletion.confirmed_by,
            erases_at=deletion.erases_at,
            claim_sha256=deletion.claim_sha256,
            confirmed_at=deletion.confirmed_at,
            cancelled_by=deletion.cancelled_by,
            cancelled_at=deletion.cancelled_at,
        )
    )


def set_erasure(tx: Connection, account_deletion_id: str, erasure_id: str) -> None:
    """Retention has taken over."""
    tx.execute(
        update(deletions)
        .where(deletions.c.account_deletion_id == account_deletion_id)
        .values(erasure_id=erasure_id)
    )


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's deletions; how many."""
    return tx.execute(delete(deletions).where(deletions.c.organization_id == organization_id)).rowcount

"""Erasures and the services' receipts. Of a claim only its SHA-256 is stored."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.certificates.certificate import Receipt
from services.retention.certificates.destructions import Destruction
from services.retention.erasures.organization_states import Erasure, ErasureState
from services.retention.holds.hold import HoldState
from services.retention.store import Tx
from services.retention.store.tables import erasure_receipts, erasures, holds


def _made(tx: Tx, rows: Sequence[Row[Any]]) -> list[Erasure]:
    receipts: dict[str, list[Receipt]] = {row.erasure_id: [] for row in rows}
    if receipts:
        for receipt in tx.execute(
            select(erasure_receipts)
            .where(erasure_receipts.c.erasure_id.in_(receipts))
            .order_by(erasure_receipts.c.erased_at, erasure_receipts.c.service)
        ):
            receipts[receipt.erasure_id].append(
                Receipt(receipt.service, receipt.erased_at, dict(receipt.removed), receipt.kept)
            )
    return [
        Erasure(
            erasure_id=row.erasure_id,
            organization_id=row.organization_id,
            account_deletion_id=row.account_deletion_id,
            confirmed_by=row.confirmed_by,
            claim_sha256=bytes(row.claim_sha256),
            state=ErasureState(row.state),
            started_at=row.started_at,
            closes_at=row.closes_at,
            fenced_at=row.fenced_at,
            ended_at=row.ended_at,
            epochs_destroyed=row.epochs_destroyed,
            destruction=Destruction(
                row.erasure_id, row.marked_at, row.destroyed_at, row.root_key_id, row.key_store_statement
            ),
            is_kept=row.is_kept,
            is_complete=row.is_complete,
            receipts=tuple(receipts[row.erasure_id]),
        )
        for row in rows
    ]


def add(tx: Tx, erasure: Erasure) -> bool:
    """Adds an erasure; False when the organization has one, or the claim is another's."""
    added = tx.execute(
        upsert(erasures)
        .values(
            erasure_id=erasure.erasure_id,
            organization_id=erasure.organization_id,
            account_deletion_id=erasure.account_deletion_id,
            confirmed_by=erasure.confirmed_by,
            claim_sha256=erasure.claim_sha256,
            state=erasure.state,
            started_at=erasure.started_at,
            tried_at=erasure.started_at,
        )
        .on_conflict_do_nothing()
        .returning(erasures.c.erasure_id)
    ).first()
    return added is not None


def _one(tx: Tx, condition: Any) -> Erasure | None:
    made = _made(tx, tx.execute(select(erasures).where(condition)).all())
    return made[0] if made else None


def get(tx: Tx, erasure_id: str) -> Erasure | None:
    """One erasure."""
    return _one(tx, erasures.c.erasure_id == erasure_id)


def of_organization(tx: Tx, organization_id: str) -> Erasure | None:
    """An organization's erasure."""
    return _one(tx, erasures.c.organization_id == organization_id)


def by_claim(tx: Tx, claim_sha256: bytes) -> Erasure | None:
    """The erasure whose claim has this SHA-256."""
    return _one(tx, erasures.c.claim_sha256 == claim_sha256)


def lock_of(tx: Tx, organization_id: str) -> Erasure | None:
    """An organization's erasure; nobody takes it further before this transaction ends."""
    of_it = erasures.c.organization_id == organization_id
    made = _made(tx, tx.execute(select(erasures).where(of_it).with_for_update(read=True)).all())
    return made[0] if made else None


def lock(tx: Tx, erasure_id: str) -> Erasure | None:
    """One erasure; nobody else changes it before this transaction ends."""
    rows = tx.execute(select(erasures).where(erasures.c.erasure_id == erasure_id).with_for_update()).all()
    made = _made(tx, rows)
    return made[0] if made else None


def take_unfinished(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids of erasures that can go on, those that waited longest first; they go to the end of the line. One that waits for a hold to
    end cannot, nor can one that was put off."""
    is_held = exists().where(
        holds.c.secrecy == "",  # what it must not know of does not decide what it sees
        holds.c.organization_id == erasures.c.organization_id,
        holds.c.state.not_in([HoldState.RELEASED, HoldState.FAILED]),
    )
    ids = [
        row.erasure_id
        for row in tx.execute(
            select(erasures.c.erasure_id)
            .where(
                erasures.c.is_complete.is_(False),
                or_(erasures.c.state != ErasureState.DONE, and_(~is_held, erasures.c.tried_at <= now)),
            )
            .order_by(erasures.c.tried_at, erasures.c.erasure_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ]
    if ids:
        tx.execute(update(erasures).where(erasures.c.erasure_id.in_(ids)).values(tried_at=now))
    return ids


def save(tx: Tx, erasure: Erasure) -> None:
    """Stores what may change of a locked erasure, receipts apart."""
    tx.execute(
        update(erasures)
        .where(erasures.c.erasure_id == erasure.erasure_id)
        .values(
            state=erasure.state,
            closes_at=erasure.closes_at,
            fenced_at=erasure.fenced_at,
            ended_at=erasure.ended_at,
            epochs_destroyed=erasure.epochs_destroyed,
            marked_at=erasure.destruction.marked_at,
            destroyed_at=erasure.destruction.destroyed_at,
            root_key_id=erasure.destruction.root_key_id,
            key_store_statement=erasure.destruction.key_store_statement,
            is_kept=erasure.is_kept,
            is_complete=erasure.is_complete,
        )
    )


def add_receipt(tx: Tx, erasure_id: str, receipt: Receipt) -> None:
    """Stores a receipt; the first of each service stays."""
    tx.execute(
        upsert(erasure_receipts)
        .values(
            erasure_id=erasure_id,
            service=receipt.service,
            erased_at=receipt.erased_at,
            removed=dict(receipt.removed),
            kept=receipt.kept,
        )
        .on_conflict_do_nothing()
    )


def save_kept(tx: Tx, erasure: Erasure) -> None:
    """Stores what the receipts of a locked erasure say is kept."""
    for receipt in erasure.receipts:
        tx.execute(
            update(erasure_receipts)
            .where(
                erasure_receipts.c.erasure_id == erasure.erasure_id,
                erasure_receipts.c.service == receipt.service,
            )
            .values(kept=receipt.kept)
        )


def put_off(tx: Tx, erasure_id: str, until: datetime) -> None:
    """A locked erasure that is certified is not taken up before."""
    tx.execute(update(erasures).where(erasures.c.erasure_id == erasure_id).values(tried_at=until))


def closing(tx: Tx) -> dict[str, datetime]:
    """Organizations whose erasure is fenced and has not begun to take keys, and since when the fence stands."""
    rows = tx.execute(
        select(erasures.c.organization_id, erasures.c.fenced_at).where(
            erasures.c.state == ErasureState.CLOSING, erasures.c.fenced_at.is_not(None)
        )
    )
    return {row.organization_id: row.fenced_at for row in rows}


def among(tx: Tx, organization_ids: Collection[str]) -> set[str]:
    """Which of these organizations are erased, or being erased."""
    rows = tx.execute(
        select(erasures.c.organization_id).where(
            erasures.c.organization_id.in_(list(organization_ids)), erasures.c.state != ErasureState.CLOSING
        )
    )
    return set(rows.scalars())

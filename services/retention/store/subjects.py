"""Erasures of single end users, the services' receipts, and the holds that keep something of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.certificates.certificate import Receipt
from services.retention.erasures.subject_states import SubjectErasure, SubjectState
from services.retention.holds.hold import HoldState
from services.retention.store import Tx
from services.retention.store.tables import holds, subject_erasures, subject_holds, subject_receipts


def _made(tx: Tx, row: Row[Any] | None) -> SubjectErasure | None:
    if row is None:
        return None
    receipts = tx.execute(
        select(subject_receipts)
        .where(subject_receipts.c.erasure_id == row.erasure_id)
        .order_by(subject_receipts.c.service)
    )
    kept = tx.execute(
        select(subject_holds.c.hold_id, subject_holds.c.records)
        .where(subject_holds.c.erasure_id == row.erasure_id)
        .order_by(subject_holds.c.hold_id)
    )
    return SubjectErasure(
        erasure_id=row.erasure_id,
        request_id=row.request_id,
        organization_id=row.organization_id,
        requested_by=row.requested_by,
        end_user=row.end_user,
        salt=bytes(row.salt),
        commitment=bytes(row.commitment),
        state=SubjectState(row.state),
        started_at=row.started_at,
        fenced_at=row.fenced_at,
        ended_at=row.ended_at,
        told_token=row.told_token,
        told=row.told,
        is_kept=row.is_kept,
        is_complete=row.is_complete,
        receipts=tuple(Receipt(one.service, one.erased_at, dict(one.removed), one.kept) for one in receipts),
        held_by=tuple((one.hold_id, one.records) for one in kept),
    )


def add(tx: Tx, erasure: SubjectErasure) -> bool:
    """Adds an erasure; False when its request is known."""
    added = tx.execute(
        upsert(subject_erasures)
        .values(
            erasure_id=erasure.erasure_id,
            request_id=erasure.request_id,
            organization_id=erasure.organization_id,
            requested_by=erasure.requested_by,
            end_user=erasure.end_user,
            salt=erasure.salt,
            commitment=erasure.commitment,
            state=erasure.state,
            started_at=erasure.started_at,
            tried_at=erasure.started_at,
        )
        .on_conflict_do_nothing()
        .returning(subject_erasures.c.erasure_id)
    ).first()
    return added is not None


def get(tx: Tx, erasure_id: str) -> SubjectErasure | None:
    """One erasure."""
    asked = select(subject_erasures).where(subject_erasures.c.erasure_id == erasure_id)
    return _made(tx, tx.execute(asked).one_or_none())


def by_request(tx: Tx, request_id: str) -> SubjectErasure | None:
    """The erasure that a request began."""
    asked = select(subject_erasures).where(subject_erasures.c.request_id == request_id)
    return _made(tx, tx.execute(asked).one_or_none())


def lock(tx: Tx, erasure_id: str) -> SubjectErasure | None:
    """One erasure; nobody else changes it before this transaction ends."""
    asked = select(subject_erasures).where(subject_erasures.c.erasure_id == erasure_id).with_for_update()
    return _made(tx, tx.execute(asked).one_or_none())


def take_unfinished(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids of erasures that can go on, those that waited longest first; they go to the end of the line. One that waits for a hold to end
    cannot."""
    is_held = exists().where(
        subject_holds.c.erasure_id == subject_erasures.c.erasure_id,
        holds.c.hold_id == subject_holds.c.hold_id,
        holds.c.state.not_in([HoldState.RELEASED, HoldState.FAILED]),
    )
    ids = [
        row.erasure_id
        for row in tx.execute(
            select(subject_erasures.c.erasure_id)
            .where(
                subject_erasures.c.is_complete.is_(False),
                or_(subject_erasures.c.state != SubjectState.DONE, ~is_held),
            )
            .order_by(subject_erasures.c.tried_at, subject_erasures.c.erasure_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ]
    if ids:
        tx.execute(
            update(subject_erasures).where(subject_erasures.c.erasure_id.in_(ids)).values(tried_at=now)
        )
    return ids


def save(tx: Tx, erasure: SubjectErasure) -> None:
    """Stores what may change of a locked erasure."""
    tx.execute(
        update(subject_erasures)
        .where(subject_erasures.c.erasure_id == erasure.erasure_id)
        .values(
            end_user=erasure.end_user,
            state=erasure.state,
            fenced_at=erasure.fenced_at,
            ended_at=erasure.ended_at,
            told_token=erasure.told_token,
            told=erasure.told,
            is_kept=erasure.is_kept,
            is_complete=erasure.is_complete,
        )
    )


def save_receipt(tx: Tx, erasure_id: str, receipt: Receipt) -> None:
    """Stores a receipt: the newest of each service, which adds up what all its calls did."""
    made = upsert(subject_receipts).values(
        erasure_id=erasure_id,
        service=receipt.service,
        erased_at=receipt.erased_at,
        removed=dict(receipt.removed),
        kept=receipt.kept,
    )
    tx.execute(
        made.on_conflict_do_update(
            index_elements=["erasure_id", "service"],
            set_={name: made.excluded[name] for name in ("erased_at", "removed", "kept")},
        )
    )


def save_holds(tx: Tx, erasure_id: str, held_by: Sequence[tuple[str, int]]) -> None:
    """Adds holds that keep something; those that did before stay named."""
    for hold_id, records in held_by:
        made = upsert(subject_holds).values(erasure_id=erasure_id, hold_id=hold_id, records=records)
        tx.execute(made.on_conflict_do_nothing())

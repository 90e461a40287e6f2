"""Erasures of what was logged before zero data retention, and the holds that keep something of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.certificates.certificate import Receipt
from services.retention.certificates.destructions import Destruction
from services.retention.erasures.content_states import ContentErasure, ContentState
from services.retention.holds.hold import HoldState
from services.retention.store import Tx
from services.retention.store.tables import content_erasures, content_holds, holds


def _made(tx: Tx, row: Row[Any] | None) -> ContentErasure | None:
    if row is None:
        return None
    kept = tx.execute(
        select(content_holds.c.hold_id, content_holds.c.records)
        .where(content_holds.c.erasure_id == row.erasure_id)
        .order_by(content_holds.c.hold_id)
    )
    return ContentErasure(
        erasure_id=row.erasure_id,
        request_id=row.request_id,
        organization_id=row.organization_id,
        requested_by=row.requested_by,
        before=row.before,
        state=ContentState(row.state),
        started_at=row.started_at,
        fenced_at=row.fenced_at,
        ended_at=row.ended_at,
        epochs_destroyed=row.epochs_destroyed,
        destruction=Destruction(
            row.erasure_id, row.marked_at, row.destroyed_at, row.root_key_id, row.key_store_statement
        ),
        logged=None
        if row.logged is None
        else Receipt(
            "logging",
            datetime.fromisoformat(row.logged["erased_at"]),
            row.logged["removed"],
            row.logged["kept"],
        ),
        is_kept=row.is_kept,
        is_complete=row.is_complete,
        held_by=tuple((one.hold_id, one.records) for one in kept),
    )


def add(tx: Tx, erasure: ContentErasure) -> bool:
    """Adds an erasure; False when its request is known."""
    added = tx.execute(
        upsert(content_erasures)
        .values(
            erasure_id=erasure.erasure_id,
            request_id=erasure.request_id,
            organization_id=erasure.organization_id,
            requested_by=erasure.requested_by,
            before=erasure.before,
            state=erasure.state,
            started_at=erasure.started_at,
            tried_at=erasure.started_at,
        )
        .on_conflict_do_nothing()
        .returning(content_erasures.c.erasure_id)
    ).first()
    return added is not None


def get(tx: Tx, erasure_id: str) -> ContentErasure | None:
    """One erasure."""
    asked = select(content_erasures).where(content_erasures.c.erasure_id == erasure_id)
    return _made(tx, tx.execute(asked).one_or_none())


def by_request(tx: Tx, request_id: str) -> ContentErasure | None:
    """The erasure that a request began."""
    asked = select(content_erasures).where(content_erasures.c.request_id == request_id)
    return _made(tx, tx.execute(asked).one_or_none())


def lock(tx: Tx, erasure_id: str) -> ContentErasure | None:
    """One erasure; nobody else changes it before this transaction ends."""
    asked = select(content_erasures).where(content_erasures.c.erasure_id == erasure_id).with_for_update()
    return _made(tx, tx.execute(asked).one_or_none())


def take_unfinished(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids of erasures that can go on, those that waited longest first; they go to the end of the line. One that waits for a hold to end
    cannot."""
    is_held = exists().where(
        content_holds.c.erasure_id == content_erasures.c.erasure_id,
        holds.c.hold_id == content_holds.c.hold_id,
        holds.c.state.not_in([HoldState.RELEASED, HoldState.FAILED]),
    )
    ids = [
        row.erasure_id
        for row in tx.execute(
            select(content_erasures.c.erasure_id)
            .where(
                content_erasures.c.is_complete.is_(False),
                or_(content_erasures.c.state != ContentState.DONE, ~is_held),
            )
            .order_by(content_erasures.c.tried_at, content_erasures.c.erasure_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ]
    if ids:
        tx.execute(
            update(content_erasures).where(content_erasures.c.erasure_id.in_(ids)).values(tried_at=now)
        )
    return ids


def clearing(tx: Tx) -> dict[str, datetime]:
    """Organizations whose content is fenced off and about to go, and since when the latest such fence of each stands."""
    rows = tx.execute(
        select(content_erasures.c.organization_id, func.max(content_erasures.c.fenced_at).label("fenced_at"))
        .where(
            content_erasures.c.state == ContentState.DESTROYING_KEYS,
            content_erasures.c.fenced_at.is_not(None),
        )
        .group_by(content_erasures.c.organization_id)
    )
    return {row.organization_id: row.fenced_at for row in rows}


def save(tx: Tx, erasure: ContentErasure) -> None:
    """Stores what may change of a locked erasure."""
    logged = erasure.logged
    tx.execute(
        update(content_erasures)
        .where(content_erasures.c.erasure_id == erasure.erasure_id)
        .values(
            state=erasure.state,
            fenced_at=erasure.fenced_at,
            ended_at=erasure.ended_at,
            epochs_destroyed=erasure.epochs_destroyed,
            marked_at=erasure.destruction.marked_at,
            destroyed_at=erasure.destruction.destroyed_at,
            root_key_id=erasure.destruction.root_key_id,
            key_store_statement=erasure.destruction.key_store_statement,
            logged=None
            if logged is None
            else {
                "erased_at": logged.erased_at.isoformat(),
                "removed": dict(logged.removed),
                "kept": logged.kept,
            },
            is_kept=erasure.is_kept,
            is_complete=erasure.is_complete,
        )
    )


def save_holds(tx: Tx, erasure_id: str, held_by: Sequence[tuple[str, int]]) -> None:
    """Adds holds that keep something; those that did before stay named."""
    for hold_id, records in held_by:
        made = upsert(content_holds).values(erasure_id=erasure_id, hold_id=hold_id, records=records)
        tx.execute(made.on_conflict_do_nothing())

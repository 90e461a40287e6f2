"""Holds and the records that they name."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, exists, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.retention.certificates.destructions import Destruction
from services.retention.holds.hold import Hold, HoldKind, HoldScope, HoldState, Sweep
from services.retention.holds.secrecy import Secrecy, SecrecyState
from services.retention.store import Tx
from services.retention.store.tables import hold_records, holds
from shared.driver import execute
from shared.driver import rows as driver_rows
from shared.ids import record_day

_UNFINISHED = holds.c.state.in_([HoldState.PENDING, HoldState.RELEASING])


# What the customer may be told of. All that says something to a customer, or decides what it sees, asks for these alone.
TELLABLE: Final = holds.c.secrecy == ""


def _secrecy(row: Row[Any]) -> Secrecy | None:
    if not row.legal_basis:
        return None
    state = SecrecyState(row.secrecy) if row.secrecy else SecrecyState.ENDED
    return Secrecy(row.legal_basis, row.secrecy_review_at, state, row.disclosed_at, row.is_counted)


def _secrecy_values(secrecy: Secrecy | None) -> dict[str, Any]:
    if secrecy is None:
        return {}
    return {
        "secrecy": "" if secrecy.state is SecrecyState.ENDED else secrecy.state,
        "legal_basis": secrecy.legal_basis,
        "secrecy_review_at": secrecy.review_at,
        "disclosed_at": secrecy.disclosed_at,
        "is_counted": secrecy.is_counted,
    }


def made(tx: Tx, rows: Sequence[Row[Any]]) -> list[Hold]:
    """Rows of `holds` as what they are, with the records that they name."""
    records: dict[str, list[tuple[bytes, bool]]] = {row.hold_id: [] for row in rows}
    named = [row.hold_id for row in rows if not row.has_scope]  # of the others there may be millions
    if named:
        for record in tx.execute(
            select(hold_records)
            .where(hold_records.c.hold_id.in_(named))
            .order_by(hold_records.c.hold_id, hold_records.c.position)
        ):
            records[record.hold_id].append((bytes(record.record_id), record.lost))
    return [
        Hold(
            hold_id=row.hold_id,
            request_id=row.request_id,
            content_sha256=bytes(row.content_sha256),
            kind=HoldKind(row.kind),
            organization_id=row.organization_id,
            record_ids=tuple(record_id for record_id, _ in records[row.hold_id]),
            reference=row.reference,
            state=HoldState(row.state),
            placed_by=row.placed_by,
            placed_at=row.placed_at,
            review_at=row.review_at,
            lapses_at=row.lapses_at,
            activated_at=row.activated_at,
            confirmed_by=row.confirmed_by,
            ended_at=row.ended_at,
            lost=frozenset(record_id for record_id, lost in records[row.hold_id] if lost),
            removed=row.removed,
            destruction=Destruction(
                row.destruction_id, row.marked_at, row.destroyed_at, row.root_key_id, row.key_store_statement
            ),
            number=row.number,
            scope=HoldScope(row.first_day, row.last_day, row.end_user or "") if row.has_scope else None,
            sweep=Sweep(
                row.swept_at,
                row.sweep_began_at,
                None if row.sweep_after is None else bytes(row.sweep_after),
                row.gone_through,
            ),
            records_kept=row.records_kept,
            records_lost=row.records_lost,
            secrecy=_secrecy(row),
        )
        for row in rows
    ]


def add(tx: Tx, hold: Hold) -> bool:
    """Adds a hold; False when the same person's or service's request id is known."""
    added = tx.execute(
        upsert(holds)
        .values(
            hold_id=hold.hold_id,
            request_id=hold.request_id,
            content_sha256=hold.content_sha256,
            kind=hold.kind,
            organization_id=hold.organization_id,
            reference=hold.reference,
            state=hold.state,
            placed_by=hold.placed_by,
            placed_at=hold.placed_at,
            lapses_at=hold.lapses_at,
            review_at=hold.review_at,
            has_scope=hold.scope is not None,
            first_day=None if hold.scope is None else hold.scope.first_day,
            last_day=None if hold.scope is None else hold.scope.last_day,
            end_user=None if hold.scope is None else hold.scope.end_user,
            tried_at=hold.placed_at,
            **_secrecy_values(hold.secrecy),
        )
        .on_conflict_do_nothing(constraint="holds_by_request")
        .returning(holds.c.hold_id)
    ).first()
    if added is None:
        return False
    if not hold.record_ids:
        return True
    tx.execute(
        insert(hold_records),
        [
            {
                "hold_id": hold.hold_id,
                "position": position,
                "record_id": record_id,
                "day": record_day(record_id),
            }
            for position, record_id in enumerate(hold.record_ids)
        ],
    )
    return True


def get(tx: Tx, hold_id: str) -> Hold | None:
    """One hold."""
    found = made(tx, tx.execute(select(holds).where(holds.c.hold_id == hold_id)).all())
    return found[0] if found else None


def named(tx: Tx, hold_ids: Collection[str]) -> list[Hold]:
    """Holds by their ids, oldest first."""
    return made(
        tx, tx.execute(select(holds).where(holds.c.hold_id.in_(hold_ids)).order_by(holds.c.number)).all()
    )


def get_by_request(tx: Tx, placed_by: str, request_id: str) -> Hold | None:
    """The hold that somebody's request placed."""
    rows = tx.execute(
        select(holds).where(holds.c.placed_by == placed_by, holds.c.request_id == request_id)
    ).all()
    found = made(tx, rows)
    return found[0] if found else None


def lock(tx: Tx, hold_id: str) -> Hold | None:
    """One hold; nobody else changes it before this transaction ends."""
    rows = tx.execute(select(holds).where(holds.c.hold_id == hold_id).with_for_update()).all()
    found = made(tx, rows)
    return found[0] if found else None


def save(tx: Tx, hold: Hold) -> None:
    """Stores what may change of a locked hold."""
    tx.execute(
        update(holds)
        .where(holds.c.hold_id == hold.hold_id)
        .values(
            state=hold.state,
            review_at=hold.review_at,
            swept_at=hold.sweep.swept_at,
            sweep_began_at=hold.sweep.began_at,
            sweep_after=hold.sweep.after,
            gone_through=hold.sweep.gone_through,
            records_kept=hold.records_kept,
            records_lost=hold.records_lost,
            # What nobody needs any more is not kept: whose records they were.
            end_user=None if hold.is_over or hold.scope is None else hold.scope.end_user,
            activated_at=hold.activated_at,
            confirmed_by=hold.confirmed_by,
            ended_at=hold.ended_at,
            removed=hold.removed,
            destruction_id=hold.destruction.destruction_id,
            marked_at=hold.destruction.marked_at,
            destroyed_at=hold.destruction.destroyed_at,
            root_key_id=hold.destruction.root_key_id,
            key_store_statement=hold.destruction.key_store_statement,
            **_secrecy_values(hold.secrecy),
        )
    )
    if hold.lost:
        tx.execute(
            update(hold_records)
            .where(hold_records.c.hold_id == hold.hold_id, hold_records.c.record_id.in_(hold.lost))
            .values(lost=True)
        )


def note_swept(tx: Tx, hold: Hold, found: Collection[bytes], lost: Collection[bytes]) -> tuple[int, int]:
    """Writes down what a look found for a locked hold; how many of them are new: kept, and lost."""
    ids = sorted(set(found))
    known = {
        bytes(record_id)
        for (record_id,) in driver_rows(
            tx,
            "SELECT record_id FROM hold_records WHERE hold_id = %b AND record_id = ANY(%b::bytea[])",
            (hold.hold_id, ids),
        )
    }
    new = [record_id for record_id in ids if record_id not in known]
    gone = [record_id in lost for record_id in new]
    if new:  # a hold may be on millions of them
        execute(
            tx,
            "INSERT INTO hold_records (hold_id, position, record_id, day, lost) "
            "SELECT %(hold_id)b, %(first)b::bigint + fresh.place - 1, fresh.record_id, fresh.day, fresh.lost "
            "FROM unnest(%(ids)b::bytea[], %(days)b::date[], %(lost)b::boolean[]) "
            "WITH ORDINALITY AS fresh(record_id, day, lost, place)",
            {
                "hold_id": hold.hold_id,
                "first": hold.records_kept + hold.records_lost,
                "ids": new,
                "days": [record_day(record_id) for record_id in new],
                "lost": gone,
            },
        )
    return len(new) - sum(gone), sum(gone)


def lost_of(tx: Tx, hold_id: str, limit: int) -> list[bytes]:
    """Records that a hold came too late for, the first of them."""
    rows = tx.execute(
        select(hold_records.c.record_id)
        .where(hold_records.c.hold_id == hold_id, hold_records.c.lost)
        .order_by(hold_records.c.record_id)
        .limit(limit)
    )
    return [bytes(one) for one in rows.scalars()]


def with_scope(tx: Tx, organization_id: str = "") -> list[Hold]:
    """Holds on all that matches that are not over; of one organization, or of all."""
    query = select(holds).where(holds.c.has_scope, holds.c.state.in_([HoldState.PENDING, HoldState.ACTIVE]))
    if organization_id:
        query = query.where(holds.c.organization_id == organization_id)
    return made(tx, tx.execute(query.order_by(holds.c.number)).all())


def is_any_overdue(tx: Tx, now: datetime) -> bool:
    """Whether the review of a legal hold was missed."""
    overdue = exists().where(
        holds.c.kind == HoldKind.LEGAL, holds.c.state == HoldState.ACTIVE, holds.c.review_at <= now
    )
    return bool(tx.execute(select(overdue)).scalar_one())


def is_any_secrecy_overdue(tx: Tx, now: datetime) -> bool:
    """Whether nobody looked again in time whether a hold must still be kept secret."""
    overdue = exists().where(
        holds.c.secrecy == SecrecyState.SECRET,
        holds.c.state.in_([HoldState.PENDING, HoldState.ACTIVE]),
        holds.c.secrecy_review_at <= now,
    )
    return bool(tx.execute(select(overdue)).scalar_one())


def to_disclose(tx: Tx, limit: int) -> list[str]:
    """Ids of holds whose secrecy ends, once they are placed."""
    asked = (
        select(holds.c.hold_id)
        .where(holds.c.secrecy == SecrecyState.ENDING, holds.c.state != HoldState.PENDING)
        .order_by(holds.c.number)
        .limit(limit)
    )
    return list(tx.execute(asked).scalars())


def take_unfinished(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids of holds that wait for other services, those that waited longest first; they go to the end of the line."""
    ids = [
        row.hold_id
        for row in tx.execute(
            select(holds.c.hold_id)
            .where(_UNFINISHED)
            .order_by(holds.c.tried_at, holds.c.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ]
    if ids:
        tx.execute(update(holds).where(holds.c.hold_id.in_(ids)).values(tried_at=now))
    return ids


def ending(tx: Tx, now: datetime, limit: int) -> list[str]:
    """Ids of holds that end by themselves now."""
    rows = tx.execute(
        select(holds.c.hold_id)
        .where(
            holds.c.state.in_([HoldState.PENDING, HoldState.ACTIVE]),
            or_(
                and_(holds.c.kind == HoldKind.FLAGGED, holds.c.review_at <= now),
                and_(holds.c.kind == HoldKind.LEGAL, holds.c.confirmed_by == "", holds.c.lapses_at <= now),
            ),
        )
        .order_by(holds.c.number)
        .limit(limit)
    )
    return [row.hold_id for row in rows]


def page(
    tx: Tx, organization_id: str, before: int | None, limit: int, *, secret_too: bool = False
) -> list[Hold]:
    """Holds, newest first; of one organization, or of all when it is empty. before: the number that the last page ended with. secret_too:
    also those of which the customer must not know."""
    query = select(holds).order_by(holds.c.number.desc()).limit(limit)
    if organization_id:
        query = query.where(holds.c.organization_id == organization_id)
    if not secret_too:
        query = query.where(TELLABLE)
    if before is not None:
        query = query.where(holds.c.number < before)
    return made(tx, tx.execute(query).all())

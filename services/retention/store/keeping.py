"""What holds keep of an organization: for plans, for certificates, and for who asks why something is left. Of those that it may know of."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, distinct, exists, func, or_, select, tuple_

from services.retention.holds.hold import Hold, HoldKind, HoldState
from services.retention.holds.secrecy import APART, SecrecyState
from services.retention.store import Tx
from services.retention.store.holds import TELLABLE, made
from services.retention.store.tables import hold_records, holds


def _standing(organization_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        TELLABLE,
        holds.c.organization_id == organization_id,
        holds.c.state.not_in([HoldState.RELEASED, HoldState.FAILED]),
    )


def _kept_since(organization_id: str, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        TELLABLE,
        holds.c.organization_id == organization_id,
        holds.c.state.not_in([HoldState.PENDING, HoldState.FAILED]),
        holds.c.activated_at.is_not(None),
        or_(holds.c.ended_at.is_(None), holds.c.ended_at >= since),
    )


def standing(tx: Tx, organization_id: str, limit: int) -> tuple[list[Hold], int]:
    """An organization's holds that are not over, the oldest first, at most so many, and how many more there are; not those of which it must
    not know."""
    return _counted(tx, _standing(organization_id), limit)


def kept_since(tx: Tx, organization_id: str, since: datetime, limit: int) -> tuple[list[Hold], int]:
    """The same of those that kept something at or after an instant."""
    return _counted(tx, _kept_since(organization_id, since), limit)


def _counted(tx: Tx, condition: tuple[ColumnElement[bool], ...], limit: int) -> tuple[list[Hold], int]:
    every = tx.execute(select(func.count()).select_from(holds).where(*condition)).scalar_one()
    found = made(tx, tx.execute(select(holds).where(*condition).order_by(holds.c.number).limit(limit)).all())
    return found, int(every) - len(found)


@dataclass(frozen=True)
class HoldTotals:
    """Of an organization's holds that kept something at or after an instant. kept: records of those that are not over, each once.
    removed: rows that went with those that are. ended_at: when the last of these was."""

    kept: int
    removed: int
    ended_at: datetime | None


def totals(tx: Tx, organization_id: str, since: datetime, told_at: datetime) -> HoldTotals:
    """Counted here: there may be as many as there are records. Without those that it must not know of. told_at: when logging told what it
    had removed; what was kept in secret is among that, and not counted again (`Hold.is_counted`)."""
    condition = _kept_since(organization_id, since)
    is_counted = or_(
        holds.c.legal_basis == "",
        and_(holds.c.is_counted.is_(True), holds.c.disclosed_at <= told_at + APART),
        and_(
            holds.c.is_counted.is_(None),
            holds.c.disclosed_at <= told_at,
            or_(holds.c.ended_at.is_(None), holds.c.ended_at >= holds.c.disclosed_at),
        ),
    )
    kept = tx.execute(
        select(func.count(distinct(hold_records.c.record_id)))
        .join(holds, holds.c.hold_id == hold_records.c.hold_id)
        .where(*condition, is_counted, holds.c.state != HoldState.RELEASED, hold_records.c.lost.is_(False))
    ).scalar_one()
    row = tx.execute(
        select(
            func.coalesce(func.sum(holds.c.removed).filter(is_counted), 0), func.max(holds.c.ended_at)
        ).where(*condition)
    ).one()
    return HoldTotals(kept, int(row[0]), row[1])


def any_being_told(tx: Tx, organization_id: str) -> bool:
    """Whether the customer is about to be told of a hold on the organization: what logging keeps of it is in between."""
    ending = exists().where(
        holds.c.organization_id == organization_id,
        holds.c.secrecy == SecrecyState.ENDING,
        holds.c.state != HoldState.PENDING,  # such a one is told of once it is placed
    )
    return bool(tx.execute(select(ending)).scalar_one())


def any_ending_again(tx: Tx, organization_id: str) -> bool:
    """Whether a hold of the organization has ended by the audit log, and is on its way there in a database that was restored; or was let
    go, and was not looked through for there."""
    again = exists().where(
        holds.c.organization_id == organization_id,
        holds.c.state == HoldState.RELEASING,
        or_(
            holds.c.ended_at.is_not(None),
            and_(TELLABLE, holds.c.has_scope, holds.c.activated_at.is_not(None), holds.c.swept_at.is_(None)),
        ),
    )
    return bool(tx.execute(select(again)).scalar_one())


def any_standing(tx: Tx, organization_id: str) -> bool:
    """Whether a hold of the organization is not over, of those that it may know of."""
    return bool(tx.execute(select(exists().where(*_standing(organization_id)))).scalar_one())


@dataclass(frozen=True)
class Keeping:
    """A hold that keeps so many records of a day."""

    hold_id: str
    kind: HoldKind
    reference: str
    review_at: datetime
    records: int


def keeping_on(tx: Tx, days: Collection[tuple[str, date]]) -> dict[tuple[str, date], list[Keeping]]:
    """The holds that keep something now on these organizations' days, by organization and day; without the secret ones, of which operators
    need not know either."""
    if not days:
        return {}
    rows = tx.execute(
        select(
            holds.c.organization_id,
            hold_records.c.day,
            holds.c.hold_id,
            holds.c.kind,
            holds.c.reference,
            holds.c.review_at,
            func.count().label("records"),
        )
        .join(hold_records, hold_records.c.hold_id == holds.c.hold_id)
        .where(
            TELLABLE,
            tuple_(holds.c.organization_id, hold_records.c.day).in_(sorted(days)),
            holds.c.state.in_([HoldState.ACTIVE, HoldState.RELEASING]),
            hold_records.c.lost.is_(False),
        )
        .group_by(holds.c.hold_id, hold_records.c.day)
        .order_by(holds.c.number)
    )
    found: dict[tuple[str, date], list[Keeping]] = {}
    for row in rows:
        found.setdefault((row.organization_id, row.day), []).append(
            Keeping(row.hold_id, HoldKind(row.kind), row.reference, row.review_at, row.records)
        )
    return found


def keeping(
    tx: Tx, organization_id: str, since: datetime, days: Sequence[date] | None, limit: int
) -> tuple[list[tuple[str, HoldKind, int]], int]:
    """(hold, kind, records) of the organization's holds that kept something on these days (all days for None) at or after an
    instant, at most so many; and how many more there are. Of those that it may know of."""
    condition = [
        TELLABLE,
        holds.c.organization_id == organization_id,
        holds.c.activated_at.is_not(None),
        or_(holds.c.ended_at.is_(None), holds.c.ended_at >= since),
        hold_records.c.lost.is_(False),
    ]
    if days is not None:
        condition.append(hold_records.c.day.in_(days))
    rows = tx.execute(
        select(
            holds.c.hold_id,
            holds.c.kind,
            func.count().label("records"),
            func.count().over().label("all"),  # what the limit leaves out is counted too
        )
        .join(hold_records, hold_records.c.hold_id == holds.c.hold_id)
        .where(*condition)
        .group_by(holds.c.hold_id, holds.c.kind)
        .order_by(holds.c.hold_id)
        .limit(limit)
    ).all()
    found = [(row.hold_id, HoldKind(row.kind), row.records) for row in rows]
    return found, rows[0].all - len(found) if rows else 0

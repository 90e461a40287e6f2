"""Holds on all records of an organization that match, also on those that come later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from services.logging.reading.scope import Selection
from services.logging.store import confidential, reading
from services.logging.store import retention as store
from services.logging.store.reading import Span
from services.logging.store.retention import HeldRow
from services.logging.store.tables import dropped_counts, standing_holds

Tx = Connection
# Records that an entry of the audit log names.
CAUGHT_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Standing:
    """A hold on all that matches. low, high: ids of [low, high), 16 bytes each. end_user: "" for everybody. kind:
    kept.retention.v1.HoldKind; None where it is not known. is_confidential: whether its copies lie apart (confidential.py)."""

    hold_id: str
    organization_id: str
    low: bytes
    high: bytes
    end_user: str
    kind: int | None
    is_confidential: bool = False


def stand(tx: Tx, hold: Standing) -> tuple[Standing | None, bool]:
    """Writes a hold down: as it stands now, None where it is on something else; and whether it is new. The caller has locked it.

    Who it is about is in no audit log, so a database that was restored to before the hold does not know it, here or at retention
    (replay.py): whichever of the two names an end user tells the other."""
    known = find(tx, hold.hold_id)
    if known is None:
        tx.execute(
            insert(standing_holds).values(
                hold_id=hold.hold_id,
                organization_id=hold.organization_id,
                low=UUID(bytes=hold.low),
                high=UUID(bytes=hold.high),
                end_user=hold.end_user,
                kind=hold.kind,
                confidential=hold.is_confidential,
            )
        )
        return hold, True
    stands = replace(known, end_user=known.end_user or hold.end_user)
    if replace(hold, end_user=hold.end_user or stands.end_user) != stands:
        return None, False
    if stands != known:
        named = standing_holds.c.hold_id == hold.hold_id
        tx.execute(update(standing_holds).where(named).values(end_user=stands.end_user))
    return stands, False


def find(tx: Tx, hold_id: str) -> Standing | None:
    """A hold, of whatever organization. The caller has locked it."""
    return next(iter(_found(tx, standing_holds.c.hold_id == hold_id)), None)


def of_organization(tx: Tx, organization_id: str) -> list[Standing]:
    """The organization's. Asked under its stripe, the answer stays true until the transaction ends."""
    return _found(tx, standing_holds.c.organization_id == organization_id)


def _found(tx: Tx, condition: ColumnElement[bool]) -> list[Standing]:
    rows = tx.execute(select(standing_holds).where(condition).order_by(standing_holds.c.hold_id))
    return [
        Standing(
            row.hold_id,
            row.organization_id,
            row.low.bytes,
            row.high.bytes,
            row.end_user,
            row.kind,
            row.confidential,
        )
        for row in rows
    ]


def forget(tx: Tx, hold_id: str) -> None:
    """A locked hold stands no more."""
    tx.execute(delete(standing_holds).where(standing_holds.c.hold_id == hold_id))


def hold_next(
    tx: Tx, hold: Standing, after: bytes | None, limit: int
) -> tuple[list[HeldRow], bool, bytes | None]:
    """Keeps the next records that match, at most so many; what is kept now of them, whether any of that is new, and where to go on, None
    where all was looked at. The caller holds the organization's stripe exclusively."""
    span = Span(hold.organization_id, hold.low, hold.high, None, bytes(16), Selection(end_user=hold.end_user))
    page = reading.page(tx, span, after, limit)
    ids = [row.record_id for row in page.rows]
    after_page = page.after
    if hold.is_confidential:
        # Also what `catch` kept since, which is nowhere else any more: access control has not been told yet.
        caught = confidential.kept_between(
            tx, hold.hold_id, hold.organization_id, after or bytes(16), after_page or hold.high, limit + 1
        )
        both = sorted({*ids, *caught})
        ids, after_page = (both[:limit], both[limit - 1]) if len(both) > limit else (both, after_page)
    kept, are_new = keep(tx, hold, ids) if ids else ([], False)
    return kept, are_new, after_page


def keep(tx: Tx, hold: Standing, record_ids: Sequence[bytes]) -> tuple[list[HeldRow], bool]:
    """Keeps records for a hold; those that it keeps now, and whether any is new to it. The caller holds the organization's stripe
    exclusively."""
    if hold.is_confidential:
        return confidential.hold(tx, hold.hold_id, hold.organization_id, record_ids)
    return store.hold(tx, hold.hold_id, hold.organization_id, record_ids, hold.kind)


def disclose(tx: Tx, hold_id: str) -> None:
    """A locked hold is an ordinary one from now on."""
    tx.execute(update(standing_holds).where(standing_holds.c.hold_id == hold_id).values(confidential=False))


def gone_through(tx: Tx, organization_id: str, first: date, last: date) -> date | None:
    """The newest of these days whose rows were taken away."""
    newest: date | None = tx.execute(
        select(func.max(dropped_counts.c.day)).where(
            dropped_counts.c.organization_id == organization_id, dropped_counts.c.day.between(first, last)
        )
    ).scalar_one()
    return newest


def catch(
    tx: Tx, holds: Sequence[Standing], end_user: str, record_ids: Sequence[bytes]
) -> list[tuple[Standing, list[HeldRow]]]:
    """Has these holds keep those of one end user's records that they are on; what of it is new to which. The caller holds the
    organization's stripe exclusively."""
    caught: list[tuple[Standing, list[HeldRow]]] = []
    for hold in holds:
        if hold.end_user not in ("", end_user):
            continue
        mine = [one for one in record_ids if hold.low <= one < hold.high]
        for start in range(0, len(mine), CAUGHT_AT_ONCE):
            kept, are_new = keep(tx, hold, mine[start : start + CAUGHT_AT_ONCE])
            if are_new:
                caught.append((hold, kept))
    return caught

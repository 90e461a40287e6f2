"""The history of data controls: rows are added, never changed; the newest is what applies."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from services.settings.store.tables import data_controls_changes as changes


@dataclass(frozen=True)
class ControlsChange:
    """One change: the controls from then on. number: 1, 2, 3… within the organization. changed_by: "member_…" or "person_…".
    assisted_opt_out_id: what it came of; "" where the organization changed it itself."""

    organization_id: str
    number: int
    training_allowed: bool
    require_customer_approval: bool
    accepted_at: datetime
    effective_at: datetime
    changed_by: str
    assisted_opt_out_id: str = ""


def add(tx: Connection, change: ControlsChange) -> None:
    """Adds a change; the organization's row is locked."""
    tx.execute(
        insert(changes).values(
            organization_id=change.organization_id,
            number=change.number,
            training_allowed=change.training_allowed,
            require_customer_approval=change.require_customer_approval,
            accepted_at=change.accepted_at,
            effective_at=change.effective_at,
            changed_by=change.changed_by,
            assisted_opt_out_id=change.assisted_opt_out_id,
        )
    )


def newest(tx: Connection, organization_id: str) -> ControlsChange | None:
    """What applies now."""
    row = tx.execute(
        select(changes)
        .where(changes.c.organization_id == organization_id)
        .order_by(changes.c.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else ControlsChange(**row._mapping)


def history(
    tx: Connection, organization_id: str, after_number: int = 0, limit: int | None = None
) -> list[ControlsChange]:
    """Oldest first, after the change with that number."""
    rows = tx.execute(
        select(changes)
        .where(changes.c.organization_id == organization_id, changes.c.number > after_number)
        .order_by(changes.c.number)
        .limit(limit)
    )
    return [ControlsChange(**row._mapping) for row in rows]


def approval_changed_at(tx: Connection, organization_id: str, nth: int) -> datetime | None:
    """When the nth newest of those changes was accepted that turned the approval of each access on or off, which are those that published a
    policy; None where there were fewer. What the controls began with is the first of them."""
    before = func.lag(changes.c.require_customer_approval).over(order_by=changes.c.number)
    told = (
        select(
            changes.c.number,
            changes.c.accepted_at,
            changes.c.require_customer_approval.is_distinct_from(before).label("is_told"),
        )
        .where(changes.c.organization_id == organization_id)
        .subquery()
    )
    return tx.execute(
        select(told.c.accepted_at)
        .where(told.c.is_told)
        .order_by(told.c.number.desc())
        .offset(nth - 1)
        .limit(1)
    ).scalar_one_or_none()


def erase(tx: Connection, organization_id: str) -> int:
    """Removes the history of an erased organization; how many changes it was."""
    return tx.execute(delete(changes).where(changes.c.organization_id == organization_id)).rowcount

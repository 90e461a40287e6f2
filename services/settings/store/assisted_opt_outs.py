"""Assisted opt-outs: one row each, one at most that waits in an organization."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from kept.settings.v1 import data_controls_pb2 as contract
from services.settings.store.tables import assisted_opt_outs as opt_outs


@dataclass(frozen=True)
class AssistedOptOut:
    """One of them. admins: how many the organization had when it was begun. decided_by, decided_at: once it is decided."""

    assisted_opt_out_id: str
    organization_id: str
    state: "contract.AssistedOptOutState.ValueType"
    reason: str
    requested_by: str
    requested_at: datetime
    admins: int
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str = ""


def _made(row: Row[Any]) -> AssistedOptOut:
    return AssistedOptOut(**row._mapping)


def add(tx: Connection, opt_out: AssistedOptOut) -> None:
    """Adds one; the organization's row is locked, and no other of it waits."""
    tx.execute(
        insert(opt_outs).values(
            assisted_opt_out_id=opt_out.assisted_opt_out_id,
            organization_id=opt_out.organization_id,
            state=opt_out.state,
            reason=opt_out.reason,
            requested_by=opt_out.requested_by,
            requested_at=opt_out.requested_at,
            admins=opt_out.admins,
        )
    )


def find(tx: Connection, assisted_opt_out_id: str) -> AssistedOptOut | None:
    """One of them."""
    row = tx.execute(
        select(opt_outs).where(opt_outs.c.assisted_opt_out_id == assisted_opt_out_id)
    ).one_or_none()
    return None if row is None else _made(row)


def find_open(tx: Connection, organization_id: str) -> AssistedOptOut | None:
    """The organization's that waits for a decision."""
    row = tx.execute(
        select(opt_outs).where(
            opt_outs.c.organization_id == organization_id,
            opt_outs.c.state == contract.ASSISTED_OPT_OUT_STATE_REQUESTED,
        )
    ).one_or_none()
    return None if row is None else _made(row)


def list_of(tx: Connection, organization_id: str, limit: int) -> list[AssistedOptOut]:
    """An organization's, newest first; with an empty id all that wait."""
    condition = (
        opt_outs.c.organization_id == organization_id
        if organization_id
        else opt_outs.c.state == contract.ASSISTED_OPT_OUT_STATE_REQUESTED
    )
    rows = tx.execute(
        select(opt_outs)
        .where(condition)
        .order_by(opt_outs.c.requested_at.desc(), opt_outs.c.assisted_opt_out_id.desc())
        .limit(limit)
    )
    return [_made(row) for row in rows]


def decide(tx: Connection, opt_out: AssistedOptOut) -> None:
    """Stores a decision; the organization's row is locked."""
    tx.execute(
        update(opt_outs)
        .where(opt_outs.c.assisted_opt_out_id == opt_out.assisted_opt_out_id)
        .values(
            state=opt_out.state,
            decided_by=opt_out.decided_by,
            decided_at=opt_out.decided_at,
            decision_reason=opt_out.decision_reason,
        )
    )


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's; how many."""
    return tx.execute(delete(opt_outs).where(opt_outs.c.organization_id == organization_id)).rowcount

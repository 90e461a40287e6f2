"""Re-screenings, by the grant they are under."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.safety_review.v1 import detectors_pb2
from services.safety_review.store.tables import rescreenings

RUNNING = detectors_pb2.RESCREENING_STATE_RUNNING


@dataclass(frozen=True)
class Rescreening:
    """after: the last record that was looked at, empty at the beginning. number: grows with each."""

    grant_id: str
    organization_id: str
    created_from: datetime
    created_until: datetime
    rules_version: str
    started_by: str
    started_at: datetime
    after: bytes = b""
    screened: int = 0
    left_out: int = 0
    state: "detectors_pb2.RescreeningState.ValueType" = RUNNING
    problem: str = ""
    taken_until: datetime | None = None
    number: int = 0


def _read(row: Any) -> Rescreening:
    values: Mapping[str, Any] = row._mapping
    return Rescreening(**{**values, "after": bytes(values["after"])})


def add(tx: Connection, new: Rescreening) -> bool:
    """Adds it; False if there is one under this grant."""
    values = {name: value for name, value in vars(new).items() if name != "number"}
    adding = insert(rescreenings).values(**values).on_conflict_do_nothing().returning(rescreenings.c.number)
    return tx.execute(adding).scalar_one_or_none() is not None


def find(tx: Connection, grant_id: str, *, lock: bool = False) -> Rescreening | None:
    """The one under a grant. lock: until the transaction ends nobody else changes it."""
    query = select(rescreenings).where(rescreenings.c.grant_id == grant_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _read(row)


def page(tx: Connection, before: int, limit: int) -> list[Rescreening]:
    """The newest with a number below `before`; 0 for all."""
    query = select(rescreenings).order_by(rescreenings.c.number.desc()).limit(limit)
    if before:
        query = query.where(rescreenings.c.number < before)
    return [_read(row) for row in tx.execute(query)]


def take(tx: Connection, now: datetime, lease: timedelta) -> Rescreening | None:
    """One that runs and that nobody works on, for as long as `lease`. A claim longer than that was made before the clock was moved."""
    free = or_(
        rescreenings.c.taken_until.is_(None),
        rescreenings.c.taken_until <= now,
        rescreenings.c.taken_until > now + lease,
    )
    row = tx.execute(
        select(rescreenings)
        .where(rescreenings.c.state == RUNNING, free)
        .order_by(rescreenings.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    put(tx, row.grant_id, taken_until=now + lease)
    return _read(row)


def put(tx: Connection, grant_id: str, **values: Any) -> None:
    """Changes one."""
    tx.execute(update(rescreenings).where(rescreenings.c.grant_id == grant_id).values(**values))

"""The fence around an organization, its erasure, and the receipt of it."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select

from services.safety_review.reviewing.cases import DISMISSED, UPHELD
from services.safety_review.store.tables import cases, erasures, flags, not_screened, verdicts

# Advisory locks of two numbers: this class, then a stripe. Organizations share stripes, so that a batch of any size takes few locks.
_FENCE: Final = 73
_STRIPES: Final = 64


@dataclass(frozen=True)
class Erasure:
    """The receipt. removed: rows by kind, the first time. kept: cases that stayed with their hold."""

    organization_id: str
    erasure_id: str
    erased_at: datetime
    removed: Mapping[str, int]
    kept: int


def _stripe(organization_id: str) -> int:
    return zlib.crc32(organization_id.encode()) % _STRIPES


def stay_inside(tx: Connection, organization_ids: Collection[str]) -> set[str]:
    """Keeps these organizations from being erased until the transaction ends; returns those that are erased already."""
    for stripe in sorted({_stripe(organization_id) for organization_id in organization_ids}):
        tx.execute(select(func.pg_advisory_xact_lock_shared(_FENCE, stripe)))
    rows = tx.execute(
        select(erasures.c.organization_id).where(erasures.c.organization_id.in_(organization_ids))
    )
    return {row.organization_id for row in rows}


def close(tx: Connection, organization_id: str) -> None:
    """Waits for whoever writes about this organization; until the transaction ends nobody else does."""
    tx.execute(select(func.pg_advisory_xact_lock(_FENCE, _stripe(organization_id))))


def find(tx: Connection, organization_id: str) -> Erasure | None:
    """The receipt, if the organization is erased."""
    row = tx.execute(select(erasures).where(erasures.c.organization_id == organization_id)).one_or_none()
    return None if row is None else Erasure(**row._mapping)


def add(tx: Connection, erasure: Erasure) -> None:
    """Stores the receipt."""
    tx.execute(insert(erasures).values(**asdict(erasure)))


def _removable(now: datetime) -> ColumnElement[bool]:
    """Whether nothing keeps a case: it was dismissed, or upheld and the last of its holds has ended."""
    held = exists().where(flags.c.case_id == cases.c.case_id, flags.c.hold_ends_at > now)
    return or_(cases.c.state == DISMISSED, (cases.c.state == UPHELD) & ~held)


def remove(tx: Connection, organization_id: str, now: datetime) -> dict[str, int]:
    """Removes the organization's closed cases that no hold keeps, their flags, and all verdicts that belong to no flag; the fence is
    closed. Returns rows by kind."""
    closed = (
        select(cases.c.case_id)
        .where(cases.c.organization_id == organization_id, _removable(now))
        .with_for_update()
    )
    case_ids = [row.case_id for row in tx.execute(closed)]
    tx.execute(delete(not_screened).where(not_screened.c.organization_id == organization_id))
    flagged = exists().where(
        flags.c.organization_id == verdicts.c.organization_id,
        flags.c.record_id == verdicts.c.record_id,
        flags.c.rules_version == verdicts.c.rules_version,
    )
    return {
        "flags": tx.execute(delete(flags).where(flags.c.case_id.in_(case_ids))).rowcount,
        "cases": tx.execute(delete(cases).where(cases.c.case_id.in_(case_ids))).rowcount,
        "verdicts": tx.execute(
            delete(verdicts).where(verdicts.c.organization_id == organization_id, ~flagged)
        ).rowcount,
    }


def count_cases(tx: Connection, organization_id: str) -> int:
    """How many cases the organization has."""
    counted = select(func.count()).select_from(cases).where(cases.c.organization_id == organization_id)
    return int(tx.execute(counted).scalar_one())


def with_leftovers(tx: Connection, now: datetime, limit: int) -> list[str]:
    """Erased organizations with cases that nothing keeps any more."""
    rows = tx.execute(
        select(cases.c.organization_id)
        .join(erasures, erasures.c.organization_id == cases.c.organization_id)
        .where(_removable(now))
        .distinct()
        .limit(limit)
    )
    return [row.organization_id for row in rows]

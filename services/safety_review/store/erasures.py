"""The fence around an organization, its erasure, and the receipt of it."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, exists, func, insert, select

from services.safety_review.store import ended_cases
from services.safety_review.store.ended_cases import Ended
from services.safety_review.store.tables import cases, erasures, flags, not_screened, verdicts

# Advisory locks of two numbers: this class, then a stripe. Organizations share stripes, so that a batch of any size takes few locks.
_FENCE: Final = 73
_STRIPES: Final = 64


@dataclass(frozen=True)
class Erasure:
    """The receipt. removed: rows by kind, the first time. kept: cases that stay with their hold."""

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


def remove(tx: Connection, organization_id: str, now: datetime) -> Ended:
    """Removes the organization's cases that no hold keeps, what goes with them, and all verdicts that belong to no flag; the fence is
    closed."""
    ended = ended_cases.remove(tx, organization_id, now, is_erased=True)
    tx.execute(delete(not_screened).where(not_screened.c.organization_id == organization_id))
    flagged = exists().where(
        flags.c.organization_id == verdicts.c.organization_id,
        flags.c.record_id == verdicts.c.record_id,
        flags.c.rules_version == verdicts.c.rules_version,
    )
    others = delete(verdicts).where(verdicts.c.organization_id == organization_id, ~flagged)
    said = ended.removed["verdicts"] + tx.execute(others).rowcount
    return Ended(ended.cases, ended.removed | {"verdicts": said})


def count_cases(tx: Connection, organization_id: str) -> int:
    """How many cases the organization has."""
    counted = select(func.count()).select_from(cases).where(cases.c.organization_id == organization_id)
    return int(tx.execute(counted).scalar_one())

"""Single records of erased end users: what is removed about them, their tombstones, and the receipts. The caller holds the fence of the
organization (store.erasures): closed to remove, inside it to ask."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from sqlalchemy import Connection, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.safety_review.reviewing.cases import DISMISSED, UPHELD
from services.safety_review.store import log_rules
from services.safety_review.store.tables import (
    cases,
    erased_records,
    flags,
    not_screened,
    record_erasures,
    verdicts,
)
from services.safety_review.store.verdicts import RecordKey, as_arrays
from shared.driver import rows


@dataclass(frozen=True)
class RecordErasure:
    """A receipt: rows removed so far, by kind."""

    erased_at: datetime
    verdicts: int = 0
    flags: int = 0
    cases: int = 0

    @property
    def removed(self) -> dict[str, int]:
        """By kind."""
        return {"verdicts": self.verdicts, "flags": self.flags, "cases": self.cases}


def remove(
    tx: Connection, organization_id: str, record_ids: Collection[bytes], now: datetime
) -> RecordErasure:
    """Removes verdicts and flags of these records. A case of which no flag is left by it goes where it is closed; one that waits for a
    decision stays, with a smaller count."""
    mine = (flags.c.organization_id == organization_id, flags.c.record_id.in_(record_ids))
    concerned = select(flags.c.case_id).where(*mine)
    # First the cases: who decides on one, or joins it, has it locked.
    tx.execute(
        select(cases.c.case_id)
        .where(cases.c.case_id.in_(concerned))
        .order_by(cases.c.case_id)
        .with_for_update()
    )
    taken = tx.execute(delete(flags).where(*mine).returning(flags.c.case_id)).scalars().all()
    for case_id in sorted(set(taken)):
        tx.execute(
            update(cases)
            .where(cases.c.case_id == case_id)
            .values(flag_count=func.greatest(cases.c.flag_count - taken.count(case_id), 0))
        )
    log_rules.forget_empty(tx, set(taken))
    left = exists().where(flags.c.case_id == cases.c.case_id)
    gone = tx.execute(
        delete(cases).where(cases.c.case_id.in_(set(taken)), cases.c.state.in_([DISMISSED, UPHELD]), ~left)
    ).rowcount
    tx.execute(
        delete(not_screened).where(
            not_screened.c.organization_id == organization_id, not_screened.c.record_id.in_(record_ids)
        )
    )
    said = tx.execute(
        delete(verdicts).where(
            verdicts.c.organization_id == organization_id, verdicts.c.record_id.in_(record_ids)
        )
    ).rowcount
    return RecordErasure(now, said, len(taken), gone)


def bury(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> None:
    """Tombstones: nothing is stored about these records any more."""
    if record_ids:
        tx.execute(
            insert(erased_records).on_conflict_do_nothing(),
            [{"organization_id": organization_id, "record_id": one} for one in sorted(record_ids)],
        )


_AMONG: Final[LiteralString] = """
    SELECT organization_id, record_id
    FROM erased_records
    JOIN (
        SELECT organization_id, decode(hex, 'hex') AS record_id
        FROM unnest(%(organizations)t::text[], %(records)t::text[]) AS wanted (organization_id, hex)
    ) AS wanted USING (organization_id, record_id)
"""
_PRUNE: Final = text("""
    DELETE FROM erased_records
    WHERE (organization_id, record_id) IN (
        SELECT organization_id, record_id FROM erased_records WHERE record_id < :before ORDER BY record_id LIMIT :most
    )
""")


def among(tx: Connection, keys: Collection[RecordKey]) -> set[RecordKey]:
    """Which of these have a tombstone."""
    return {RecordKey(*row) for row in rows(tx, _AMONG, as_arrays(keys))}


def prune(tx: Connection, before: bytes, most: int) -> int:
    """Removes up to `most` tombstones of records whose id is below `before`; returns how many."""
    return tx.execute(_PRUNE, {"before": before, "most": most}).rowcount


def note(tx: Connection, erasure_id: str, organization_id: str, done: RecordErasure) -> RecordErasure:
    """Adds to an erasure's receipt; the receipt as it is now."""
    made = insert(record_erasures).values(
        erasure_id=erasure_id,
        organization_id=organization_id,
        erased_at=done.erased_at,
        verdicts=done.verdicts,
        flags=done.flags,
        cases=done.cases,
    )
    row = tx.execute(
        made.on_conflict_do_update(
            index_elements=["erasure_id"],
            set_={
                "erased_at": made.excluded.erased_at,
                "verdicts": record_erasures.c.verdicts + made.excluded.verdicts,
                "flags": record_erasures.c.flags + made.excluded.flags,
                "cases": record_erasures.c.cases + made.excluded.cases,
            },
        ).returning(
            record_erasures.c.erased_at,
            record_erasures.c.verdicts,
            record_erasures.c.flags,
            record_erasures.c.cases,
        )
    ).one()
    return RecordErasure(row.erased_at, row.verdicts, row.flags, row.cases)


def noted(tx: Connection, erasure_id: str) -> RecordErasure | None:
    """An erasure's receipt so far."""
    row = tx.execute(select(record_erasures).where(record_erasures.c.erasure_id == erasure_id)).one_or_none()
    return None if row is None else RecordErasure(row.erased_at, row.verdicts, row.flags, row.cases)

"""By which detectors records were not screened, and why."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, text, tuple_

from services.safety_review.store.tables import not_screened
from services.safety_review.store.verdicts import RecordKey

_PRUNE: Final = text("""
    DELETE FROM not_screened
    WHERE (organization_id, record_id, rules_version, detector) IN (
        SELECT organization_id, record_id, rules_version, detector
        FROM not_screened WHERE record_id < :before ORDER BY record_id LIMIT :most
    )
""")


@dataclass(frozen=True)
class Missing:
    """One detector that did not screen a record."""

    detector: str
    reason: str


def add(tx: Connection, rules_version: str, missing: Mapping[RecordKey, Sequence[Missing]]) -> None:
    """Stores what is missing on these records, about which nothing is stored."""
    rows = [
        {
            "organization_id": key.organization_id,
            "record_id": key.record_id,
            "rules_version": rules_version,
            "detector": one.detector,
            "reason": one.reason,
        }
        for key, several in missing.items()
        for one in several
    ]
    if rows:
        tx.execute(insert(not_screened), rows)


def forget(tx: Connection, rules_version: str, keys: Collection[RecordKey]) -> None:
    """Removes what is missing on these records."""
    if keys:
        tx.execute(
            delete(not_screened).where(
                not_screened.c.rules_version == rules_version,
                tuple_(not_screened.c.organization_id, not_screened.c.record_id).in_(sorted(keys)),
            )
        )


def counts(tx: Connection, rules_version: str) -> dict[str, dict[str, int]]:
    """How many records each detector did not screen under a version of the rules, by reason."""
    found: dict[str, dict[str, int]] = {}
    for row in tx.execute(
        select(not_screened.c.detector, not_screened.c.reason, func.count().label("records"))
        .where(not_screened.c.rules_version == rules_version)
        .group_by(not_screened.c.detector, not_screened.c.reason)
    ):
        found.setdefault(row.detector, {})[row.reason] = row.records
    return found


def prune(tx: Connection, before: bytes, most: int) -> int:
    """Removes up to `most` rows of records whose id is below `before`; returns how many."""
    return tx.execute(_PRUNE, {"before": before, "most": most}).rowcount

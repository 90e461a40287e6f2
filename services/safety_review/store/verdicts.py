"""Verdicts: one for each record and version of the rules, the first that is complete."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from kept.safety_review.v1 import screening_pb2


class RecordKey(NamedTuple):
    """A record: two organizations may use the same id."""

    organization_id: str
    record_id: bytes


_FIND: Final = text("""
    SELECT organization_id, record_id, verdict
    FROM verdicts
    JOIN unnest(CAST(:organizations AS text[]), CAST(:records AS bytea[])) AS wanted (organization_id, record_id)
        USING (organization_id, record_id)
    WHERE rules_version = :rules_version
""")
_ADD: Final = text("""
    INSERT INTO verdicts (organization_id, record_id, rules_version, verdict)
    SELECT organization_id, record_id, :rules_version, verdict
    FROM unnest(CAST(:organizations AS text[]), CAST(:records AS bytea[]), CAST(:verdicts AS smallint[]))
        AS new (organization_id, record_id, verdict)
    ON CONFLICT (organization_id, record_id, rules_version) DO UPDATE SET verdict = excluded.verdict
        WHERE verdicts.verdict = 3 AND excluded.verdict <> 3
    RETURNING organization_id, record_id, xmax <> 0 AS was_there
""")
# What goes is counted by the day of the record's creation, in the same statement: a report loses none of it and counts none twice.
_PRUNE: Final = text("""
    WITH gone AS (
        DELETE FROM verdicts
        WHERE (organization_id, record_id, rules_version) IN (
            SELECT organization_id, record_id, rules_version
            FROM verdicts
            WHERE verdict <> 2 AND record_id < :before
            ORDER BY record_id
            LIMIT :most
        )
        RETURNING record_id, verdict
    ), counted AS (
        INSERT INTO screened_days (day, verdict, records)
        SELECT record_day(record_id), verdict, count(*) FROM gone GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (day, verdict) DO UPDATE SET records = screened_days.records + excluded.records
    )
    SELECT count(*) FROM gone
""")


def find(
    tx: Connection, keys: Collection[RecordKey], rules_version: str
) -> dict[RecordKey, "screening_pb2.Verdict.ValueType"]:
    """The verdicts that there are."""
    rows = tx.execute(
        _FIND,
        {
            "organizations": [key.organization_id for key in keys],
            "records": [key.record_id for key in keys],
            "rules_version": rules_version,
        },
    )
    return {RecordKey(row.organization_id, bytes(row.record_id)): row.verdict for row in rows}


def add(
    tx: Connection, new: Mapping[RecordKey, "screening_pb2.Verdict.ValueType"], rules_version: str
) -> dict[RecordKey, bool]:
    """Adds verdicts where there is none yet, or an incomplete one; returns for which, and whether that was one. Waits
    for other transactions that add the same."""
    keys = sorted(new)  # two transactions with the same records must not wait for each other
    rows = tx.execute(
        _ADD,
        {
            "organizations": [key.organization_id for key in keys],
            "records": [key.record_id for key in keys],
            "verdicts": [new[key] for key in keys],
            "rules_version": rules_version,
        },
    )
    return {RecordKey(row.organization_id, bytes(row.record_id)): row.was_there for row in rows}


def prune(tx: Connection, before: bytes, most: int) -> int:
    """Removes up to `most` verdicts of records that were not flagged and whose id is below `before`; returns how many."""
    removed: int = tx.execute(_PRUNE, {"before": before, "most": most}).scalar_one()
    return removed

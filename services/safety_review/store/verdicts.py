"""Verdicts: one for each record and version of the rules, the first that is complete."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, LiteralString, NamedTuple

from sqlalchemy import Connection, text

from kept.safety_review.v1 import screening_pb2
from shared.driver import listed, rows


class RecordKey(NamedTuple):
    """A record: two organizations may use the same id."""

    organization_id: str
    record_id: bytes


_FIND: Final[LiteralString] = """
    SELECT organization_id, record_id, verdict
    FROM verdicts
    JOIN (
        SELECT organization_id, decode(hex, 'hex') AS record_id
        FROM unnest(%(organizations)t::text[], %(records)t::text[]) AS wanted (organization_id, hex)
    ) AS wanted USING (organization_id, record_id)
    WHERE rules_version = %(rules_version)s
"""
# Only the few for which there was something are in the answer.
_ADD: Final[LiteralString] = """
    WITH new AS MATERIALIZED (
        SELECT organization_id, decode(hex, 'hex') AS record_id, verdict
        FROM unnest(%(organizations)t::text[], %(records)t::text[], %(verdicts)t::smallint[])
            AS new (organization_id, hex, verdict)
    ), added AS (
        INSERT INTO verdicts (organization_id, record_id, rules_version, verdict)
        SELECT organization_id, record_id, %(rules_version)s, verdict FROM new
        ON CONFLICT (organization_id, record_id, rules_version) DO UPDATE SET verdict = excluded.verdict
            WHERE verdicts.verdict = 3 AND excluded.verdict <> 3
        RETURNING organization_id, record_id, xmax <> 0 AS was_there
    )
    SELECT organization_id, record_id, was_there IS NOT NULL
    FROM new LEFT JOIN added USING (organization_id, record_id)
    WHERE was_there IS NOT FALSE
"""
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


@dataclass(frozen=True)
class Added:
    """completed: for which an incomplete verdict was there. refused: for which there is one that stays."""

    completed: frozenset[RecordKey]
    refused: frozenset[RecordKey]


def find(
    tx: Connection, keys: Collection[RecordKey], rules_version: str
) -> dict[RecordKey, "screening_pb2.Verdict.ValueType"]:
    """The verdicts that there are."""
    found = rows(tx, _FIND, as_arrays(keys) | {"rules_version": rules_version})
    return {RecordKey(organization_id, record_id): verdict for organization_id, record_id, verdict in found}


def add(
    tx: Connection, new: Mapping[RecordKey, "screening_pb2.Verdict.ValueType"], rules_version: str
) -> Added:
    """Adds verdicts where there is none yet, or an incomplete one. Waits for other transactions that add the same."""
    keys = sorted(new)  # two transactions with the same records must not wait for each other
    verdicts = {"verdicts": listed([new[key] for key in keys]), "rules_version": rules_version}
    known: dict[bool, set[RecordKey]] = {True: set(), False: set()}
    for organization_id, record_id, is_completed in rows(tx, _ADD, as_arrays(keys) | verdicts):
        known[is_completed].add(RecordKey(organization_id, record_id))
    return Added(frozenset(known[True]), frozenset(known[False]))


def as_arrays(keys: Collection[RecordKey]) -> dict[str, str]:
    """Of the records, for `%t`: `organizations`, and `records` in hexadecimal."""
    return {
        "organizations": listed([key.organization_id for key in keys]),
        "records": listed([key.record_id.hex() for key in keys]),
    }


def prune(tx: Connection, before: bytes, most: int) -> int:
    """Removes up to `most` verdicts of records that were not flagged and whose id is below `before`; returns how many."""
    removed: int = tx.execute(_PRUNE, {"before": before, "most": most}).scalar_one()
    return removed

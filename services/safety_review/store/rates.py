"""How many flags came lately. Up to a threshold and no further: a flood costs no more than the first flags of it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text

_OF_ALL: Final = text("""
    SELECT count(*) FROM (
        SELECT 1
        FROM flags JOIN cases USING (case_id)
        WHERE flags.organization_id = :organization_id AND flags.flagged_at > :since AND flags.finding_id IS NULL
            AND cases.category = :category AND cases.state <> 5
        LIMIT :most
    ) AS first
""")
# For each end user on its own, by an index: what others did is not read.
_OF_EACH: Final = text("""
    SELECT coalesce(max(counted), 0) FROM unnest(CAST(:end_users AS bytea[])) AS wanted (end_user_hash), LATERAL (
        SELECT count(*) AS counted FROM (
            SELECT 1
            FROM flags JOIN cases USING (case_id)
            WHERE flags.organization_id = :organization_id AND flags.flagged_at > :since AND flags.finding_id IS NULL
                AND flags.end_user_hash = wanted.end_user_hash AND cases.category = :category AND cases.state <> 5
            LIMIT :most
        ) AS first
    ) AS each
""")


def of_all(tx: Connection, organization_id: str, category: str, since: datetime, most: int) -> int:
    """Flags since then in cases that were not dismissed, at most `most`."""
    return _counted(tx, _OF_ALL, organization_id, category, since, most)


def of_busiest(
    tx: Connection,
    organization_id: str,
    category: str,
    since: datetime,
    most: int,
    end_users: Collection[bytes],
) -> int:
    """The same of the one of these end users that has most of them."""
    return _counted(tx, _OF_EACH, organization_id, category, since, most, end_users=sorted(end_users))


def _counted(
    tx: Connection,
    statement: TextClause,
    organization_id: str,
    category: str,
    since: datetime,
    most: int,
    **more: Any,
) -> int:
    values = {"organization_id": organization_id, "category": category, "since": since, "most": most}
    found: int = tx.execute(statement, values | more).scalar_one()
    return found

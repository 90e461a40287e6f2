"""How many flags came lately."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

# Up to a threshold and no further: a flood costs no more than the first flags of it.
_COUNT: Final = text("""
    SELECT coalesce(max(counted), 0) FROM unnest(CAST(:end_users AS bytea[])) AS wanted (end_user_hash), LATERAL (
        SELECT count(*) AS counted FROM (
            SELECT 1
            FROM flags JOIN cases USING (case_id)
            WHERE flags.organization_id = :organization_id AND flags.flagged_at > :since
                AND cases.category = :category AND cases.state <> 5 AND flags.finding_id IS NULL
                AND (wanted.end_user_hash = ''::bytea OR flags.end_user_hash = wanted.end_user_hash)
            LIMIT :most
        ) AS first
    ) AS each
""")


def count(
    tx: Connection,
    organization_id: str,
    category: str,
    since: datetime,
    most: int,
    end_users: Collection[bytes] = (b"",),
) -> int:
    """Flags since then in cases that were not dismissed, at most `most`: of the busiest of these end users, where b"" is all of them."""
    found: int = tx.execute(
        _COUNT,
        {
            "organization_id": organization_id,
            "category": category,
            "since": since,
            "most": most,
            "end_users": sorted(end_users),
        },
    ).scalar_one()
    return found

"""Contents count as removed once no place has them: those that erasures have taken from rows, and holds keep, were counted off already, and
are counted in again here. What a process of the version before erases after this, or has disclosed, is not: see
docs/operations/upgrade.md."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KEPT = """
    SELECT retained.organization_id, retained.record_id, retained.day,
        CASE WHEN retained.by_application THEN retained.application ELSE '' END AS lot
    FROM retained JOIN interactions USING (organization_id, record_id)
    WHERE retained.content IS NOT NULL AND interactions.content IS NULL AND EXISTS (
        SELECT FROM content_erasures AS act
        WHERE act.organization_id = retained.organization_id AND act.below > retained.record_id
    )
"""
_STATEMENTS = (
    f"""
    INSERT INTO stored_counts AS counted (day, organization_id, writer, records, records_with_content, application)
    SELECT day, organization_id, 'content erasure' || CASE lot WHEN '' THEN '' ELSE '/' || lot END, 0, count(*), lot
    FROM ({_KEPT}) AS kept
    WHERE EXISTS (
        SELECT FROM stored_counts AS there
        WHERE there.day = kept.day AND there.organization_id = kept.organization_id AND there.application = kept.lot
    )
    GROUP BY day, organization_id, lot
    ON CONFLICT ON CONSTRAINT stored_counts_pkey
    DO UPDATE SET records_with_content = counted.records_with_content + excluded.records_with_content
    """,  # noqa: S608 - constants
    f"""
    UPDATE content_erasures AS act SET contents = act.contents - mine.contents
    FROM (
        SELECT first.erasure_id, count(*) AS contents FROM ({_KEPT}) AS kept CROSS JOIN LATERAL (
            SELECT going_on.erasure_id, going_on.erased_at FROM content_erasures AS going_on
            WHERE going_on.organization_id = kept.organization_id AND going_on.below > kept.record_id
            ORDER BY going_on.fenced_at, going_on.erasure_id LIMIT 1
        ) AS first
        WHERE first.erased_at IS NULL GROUP BY first.erasure_id
    ) AS mine
    WHERE act.erasure_id = mine.erasure_id AND act.contents >= mine.contents
    """,  # noqa: S608 - constants
)


def upgrade() -> None:
    """Corrects what is counted."""
    for statement in _STATEMENTS:
        op.execute(statement)

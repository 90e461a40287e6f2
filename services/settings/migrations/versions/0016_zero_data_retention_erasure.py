"""What was logged before zero data retention can be erased, and zero data retention can end for more than one cause. The version before sets
neither and reads past both."""

from alembic import op

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE organizations ADD COLUMN content_erased_before timestamptz",
    "ALTER TABLE zero_data_retention_requests ADD COLUMN erase_logged_before boolean NOT NULL DEFAULT false",
    "ALTER TABLE zero_data_retention_requests ADD COLUMN erasure_id text NOT NULL DEFAULT ''",
    "ALTER TABLE zero_data_retention_requests ADD COLUMN end_cause smallint NOT NULL DEFAULT 0",
    # Until now only the vendor's notice gave a request its last day.
    "UPDATE zero_data_retention_requests SET end_cause = 2 WHERE ends_at IS NOT NULL",
)


def upgrade() -> None:
    """Adds the columns."""
    for statement in _STATEMENTS:
        op.execute(statement)

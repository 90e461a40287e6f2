"""When each of the vendor's people asked that zero data retention end: a voice counts for 72 hours. The version before writes down who, and not
when; it reads as before."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. What was said before counts from now."""
    op.execute(
        """
        ALTER TABLE zero_data_retention_requests
        ADD COLUMN end_approved_at timestamptz[] NOT NULL DEFAULT '{}'
        """
    )
    op.execute(
        """
        UPDATE zero_data_retention_requests
        SET end_approved_at = array_fill(now(), ARRAY[cardinality(end_approved_by)])
        WHERE end_approved_by <> '{}'
        """
    )

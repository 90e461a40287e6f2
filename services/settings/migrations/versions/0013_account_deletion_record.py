"""Who did what to an account's deletion, and which erasure it became. The version before writes none of it down."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds what no row needs."""
    op.execute(
        """
        ALTER TABLE account_deletions
            ADD COLUMN confirmed_at timestamptz,
            ADD COLUMN cancelled_by text,
            ADD COLUMN cancelled_at timestamptz,
            ADD COLUMN erasure_id text
        """
    )

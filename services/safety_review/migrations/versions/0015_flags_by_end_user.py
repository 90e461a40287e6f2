"""The flags of an end user are found without reading those of others. The version before counts without this index."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the index."""
    op.execute("""
        CREATE INDEX flags_by_end_user ON flags (organization_id, end_user_hash, flagged_at) WHERE finding_id IS NULL
    """)

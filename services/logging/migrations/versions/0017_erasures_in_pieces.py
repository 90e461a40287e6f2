"""Organizations are erased in pieces: what of it only the receipt will say."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table."""
    op.execute(
        "CREATE TABLE erasure_progress (organization_id TEXT NOT NULL, erasure_id TEXT NOT NULL, unscreened BIGINT NOT NULL, "
        "CONSTRAINT erasure_progress_pkey PRIMARY KEY (organization_id, erasure_id))"
    )

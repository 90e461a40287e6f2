"""Long bodies of audit entries are stored as they are: they are mostly ids, which do not get smaller, and trying takes longer than all the
rest of the insert."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Says so for bodies from now on."""
    op.execute("ALTER TABLE audit_entries ALTER COLUMN body SET STORAGE EXTERNAL")

"""A customer's admin may hold a grant too: who asked is one of the workforce or a customer's member. The version before asks for the
workforce only, and writes nothing else."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Lets go of the reference to people of the workforce."""
    op.execute("ALTER TABLE grants DROP CONSTRAINT grants_requested_by_fkey")

"""When logging raised the fence of an organization's erasure, where a hold on all that matches made it come before the keys."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. An erasure that is under way asks for its fence again."""
    op.execute("ALTER TABLE erasures ADD COLUMN fenced_at TIMESTAMP WITH TIME ZONE")

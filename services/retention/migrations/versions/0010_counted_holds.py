"""Whether what a hold kept in secret is counted beside what an erasure removed. NULL for those that the version before told of, and tells
of meanwhile: of these it is judged by the instants."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.execute("ALTER TABLE holds ADD COLUMN is_counted BOOLEAN")

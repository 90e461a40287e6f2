"""How often a record was opened under a service's permission. The version before writes once and leaves the count alone."""

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column without touching a row."""
    op.execute("ALTER TABLE permission_records ADD COLUMN times INTEGER DEFAULT 1 NOT NULL")

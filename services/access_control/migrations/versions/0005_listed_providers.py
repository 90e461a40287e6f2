"""Until when a provider is known to be on the list of sub-processors. The version before neither sets it nor asks for it."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; of no provider it is known yet."""
    op.execute("ALTER TABLE providers ADD COLUMN listed_until TIMESTAMP WITH TIME ZONE")

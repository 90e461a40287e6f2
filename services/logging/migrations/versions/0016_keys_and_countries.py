"""Which key a record came with, and from which country: NULL where the gateway did not say, or a process of the version before took it."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns without touching a row."""
    for table in ("interactions", "retained", "confidential_rows"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN api_key_id TEXT, ADD COLUMN country TEXT")

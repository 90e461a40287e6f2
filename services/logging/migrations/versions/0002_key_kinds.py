"""Whose key a record came with, and why a hold keeps it. Both may be NULL: the version before writes neither."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns without touching a row; partitions, those that are there and those to come, take theirs from their parent."""
    for table in ("interactions", "retained"):
        op.add_column(table, sa.Column("api_key_kind", sa.SmallInteger))
    op.add_column("holds", sa.Column("kind", sa.SmallInteger))

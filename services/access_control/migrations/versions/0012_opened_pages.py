"""What a reader opens who reads on is one row a page, not one a record: a third of what access control's part of a read cost its database.

What is there stays where it is, and goes on to count; so does what cannot be a page's (store/opened_records.py). The version before does
not look into the new table, and counts again what a grant opened before: its budget ends earlier, never later.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own."""
    op.create_table(
        "opened_pages",
        sa.Column("grant_id", sa.Text, primary_key=True),
        sa.Column("first_id", sa.LargeBinary, primary_key=True),
        sa.Column("last_id", sa.LargeBinary, nullable=False),
        sa.Column("record_ids", ARRAY(sa.LargeBinary), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("ALTER TABLE opened_pages ALTER COLUMN record_ids SET STORAGE EXTERNAL")  # ids do not compress

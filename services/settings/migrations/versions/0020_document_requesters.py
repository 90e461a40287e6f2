"""Which member asked for a document: who leaves is forgotten in requests whatever name and address they came with. A new column, and digests
that go; the version before leaves the column empty, and reads on."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column. Of who left, the digest of name, address and company goes too: all three can be guessed."""
    op.execute("ALTER TABLE trust_requests ADD COLUMN requested_by text")
    op.execute("UPDATE trust_requests SET content_sha256 = '' WHERE name = '' AND email = ''")

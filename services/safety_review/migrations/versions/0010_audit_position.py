"""How far the audit log is known to this database. A new table only: the version before knows nothing of it."""

from alembic import op

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table. Without a row everything is read again, which changes nothing that the database knows."""
    op.execute(
        """
        CREATE TABLE audit_position (
            singleton boolean PRIMARY KEY,
            position bigint NOT NULL,
            replaying_since timestamptz,
            replayed bigint NOT NULL DEFAULT 0,
            unknown bigint NOT NULL DEFAULT 0,
            CONSTRAINT audit_position_one_row CHECK (singleton)
        )
        """
    )

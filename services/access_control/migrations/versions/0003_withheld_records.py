"""Records whose keys are withheld though their epoch lives. The version before knows nothing of them, and writes no withheld organization."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE organization_keys ADD COLUMN withholds BOOLEAN DEFAULT false NOT NULL",
    """
    CREATE TABLE withheld_records (
        organization_id TEXT NOT NULL,
        record_id BYTEA NOT NULL,
        PRIMARY KEY (organization_id, record_id)
    )
    """,
    """
    CREATE TABLE withholdings (
        erasure_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        records BIGINT NOT NULL,
        withheld_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (erasure_id)
    )
    """,
)


def upgrade() -> None:
    """Makes the tables, and a column without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

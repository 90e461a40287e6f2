"""Keys of records that holds keep of which the law forbids telling the customer. The version before knows none of them and keeps none."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE confidential_records (
        hold_id TEXT NOT NULL,
        record_id BYTEA NOT NULL,
        organization_id TEXT NOT NULL,
        wrapped BYTEA,
        PRIMARY KEY (hold_id, record_id)
    )
    """,
    "CREATE INDEX confidential_records_by_organization ON confidential_records (organization_id, record_id)",
    "ALTER TABLE hold_keys ADD COLUMN disclosed_at TIMESTAMP WITH TIME ZONE",
)


def upgrade() -> None:
    """Makes the table, and a column without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

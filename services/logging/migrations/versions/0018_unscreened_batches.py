"""What waits to be screened stands there by the batch. The version before does not look at it: what a process of this version left there is
screened once one of this version looks again."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE unscreened_batches (
        organization_id TEXT NOT NULL,
        first_record_id UUID NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE NOT NULL,
        record_ids BYTEA NOT NULL,
        CONSTRAINT unscreened_batches_pkey PRIMARY KEY (organization_id, first_record_id)
    )
    WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    "CREATE INDEX unscreened_batches_by_age ON unscreened_batches (received_at)",
    # Ids hardly compress; to try takes longer than to write them.
    "ALTER TABLE unscreened_batches ALTER COLUMN record_ids SET STORAGE EXTERNAL",
)


def upgrade() -> None:
    """Adds a table."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""Where usage waits to be counted. A new table only: the version before knows nothing of it, and goes on counting by itself."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, which is nearly empty nearly always."""
    op.execute(
        """
        CREATE TABLE usage_arrivals (
            organization_id TEXT NOT NULL,
            arrival_id UUID NOT NULL,
            hour INTEGER NOT NULL,
            application TEXT NOT NULL,
            model TEXT NOT NULL,
            figures BIGINT[] NOT NULL,
            CONSTRAINT usage_arrivals_pkey PRIMARY KEY (organization_id, arrival_id)
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
        """
    )

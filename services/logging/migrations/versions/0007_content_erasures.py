"""Erasures of the content that was logged before zero data retention. A new table only: the version before knows nothing of it."""

from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE content_erasures (
        erasure_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        before TIMESTAMP WITH TIME ZONE NOT NULL,
        below UUID NOT NULL,
        fenced_at TIMESTAMP WITH TIME ZONE NOT NULL,
        after UUID,
        contents BIGINT DEFAULT '0' NOT NULL,
        data_keys BIGINT DEFAULT '0' NOT NULL,
        unscreened BIGINT DEFAULT '0' NOT NULL,
        erased_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT content_erasures_pkey PRIMARY KEY (erasure_id)
    )
    """,
    "CREATE INDEX content_erasures_by_bound ON content_erasures (organization_id, below)",
)


def upgrade() -> None:
    """Makes the table."""
    for statement in _STATEMENTS:
        op.execute(statement)

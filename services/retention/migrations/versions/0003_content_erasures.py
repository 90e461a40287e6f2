"""Erasures of the content that was logged before zero data retention. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE content_erasures (
        erasure_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        before TIMESTAMP WITH TIME ZONE NOT NULL,
        state TEXT NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        fenced_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        epochs_destroyed BIGINT DEFAULT '0' NOT NULL,
        marked_at TIMESTAMP WITH TIME ZONE,
        destroyed_at TIMESTAMP WITH TIME ZONE,
        root_key_id TEXT DEFAULT '' NOT NULL,
        key_store_statement TEXT DEFAULT '' NOT NULL,
        logged JSONB,
        is_kept BOOLEAN DEFAULT false NOT NULL,
        is_complete BOOLEAN DEFAULT false NOT NULL,
        tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (erasure_id),
        UNIQUE (request_id)
    )
    """,
    "CREATE INDEX content_erasures_unfinished ON content_erasures (tried_at) WHERE NOT is_complete",
    "CREATE INDEX content_erasures_by_organization ON content_erasures (organization_id)",
    """
    CREATE TABLE content_holds (
        erasure_id TEXT NOT NULL,
        hold_id TEXT NOT NULL,
        records BIGINT NOT NULL,
        PRIMARY KEY (erasure_id, hold_id),
        FOREIGN KEY(erasure_id) REFERENCES content_erasures (erasure_id)
    )
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

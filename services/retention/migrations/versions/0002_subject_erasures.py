"""Erasures of single end users. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE subject_erasures (
        erasure_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        end_user TEXT,
        salt BYTEA NOT NULL,
        commitment BYTEA NOT NULL,
        state TEXT NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        fenced_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        told_token TEXT DEFAULT '' NOT NULL,
        told BIGINT DEFAULT '0' NOT NULL,
        is_kept BOOLEAN DEFAULT false NOT NULL,
        is_complete BOOLEAN DEFAULT false NOT NULL,
        tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (erasure_id),
        UNIQUE (request_id)
    )
    """,
    "CREATE INDEX subject_erasures_unfinished ON subject_erasures (tried_at) WHERE NOT is_complete",
    """
    CREATE TABLE subject_receipts (
        erasure_id TEXT NOT NULL,
        service TEXT NOT NULL,
        erased_at TIMESTAMP WITH TIME ZONE NOT NULL,
        removed JSONB NOT NULL,
        kept BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (erasure_id, service),
        FOREIGN KEY(erasure_id) REFERENCES subject_erasures (erasure_id)
    )
    """,
    """
    CREATE TABLE subject_holds (
        erasure_id TEXT NOT NULL,
        hold_id TEXT NOT NULL,
        records BIGINT NOT NULL,
        PRIMARY KEY (erasure_id, hold_id),
        FOREIGN KEY(erasure_id) REFERENCES subject_erasures (erasure_id)
    )
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

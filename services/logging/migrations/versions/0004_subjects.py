"""Erasure of one end user. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE subject_erasures (
        erasure_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        fenced_at TIMESTAMP WITH TIME ZONE NOT NULL,
        below UUID NOT NULL,
        stage TEXT NOT NULL,
        after UUID,
        interactions BIGINT DEFAULT '0' NOT NULL,
        unscreened BIGINT DEFAULT '0' NOT NULL,
        erased_at TIMESTAMP WITH TIME ZONE
    )
    """,
    """
    CREATE TABLE subject_fences (
        organization_id TEXT NOT NULL,
        end_user TEXT NOT NULL,
        below UUID NOT NULL,
        fenced_at TIMESTAMP WITH TIME ZONE NOT NULL,
        erasure_id TEXT NOT NULL,
        CONSTRAINT subject_fences_pkey PRIMARY KEY (organization_id, end_user)
    )
    """,
    "CREATE INDEX subject_fences_by_bound ON subject_fences (organization_id, below)",
    """
    CREATE TABLE subject_records (
        erasure_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        record_id UUID NOT NULL,
        day DATE NOT NULL,
        has_content BOOLEAN NOT NULL,
        CONSTRAINT subject_records_pkey PRIMARY KEY (erasure_id, record_id)
    )
    """,
    "CREATE INDEX subject_records_by_record ON subject_records (organization_id, record_id)",
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

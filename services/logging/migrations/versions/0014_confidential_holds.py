"""Holds of which the law forbids telling the customer: their copies lie apart. The version before knows none of them and places none."""

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE confidential_rows (
        hold_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        record_id UUID NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE NOT NULL,
        gateway TEXT NOT NULL,
        application TEXT NOT NULL,
        model TEXT NOT NULL,
        end_user TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        generation_tokens INTEGER NOT NULL,
        finish_reason TEXT NOT NULL,
        latency_us BIGINT,
        data_key_id UUID,
        content BYTEA,
        verdict SMALLINT,
        rules_version TEXT,
        api_key_kind SMALLINT,
        day DATE NOT NULL,
        sealed_data_key BYTEA,
        CONSTRAINT confidential_rows_pkey PRIMARY KEY (hold_id, organization_id, record_id)
    )
    """,
    "ALTER TABLE confidential_rows ALTER COLUMN content SET STORAGE EXTERNAL",
    "CREATE INDEX confidential_rows_by_record ON confidential_rows (organization_id, record_id)",
    "CREATE TABLE disclosed_holds (hold_id TEXT NOT NULL, PRIMARY KEY (hold_id))",
    "ALTER TABLE standing_holds ADD COLUMN confidential BOOLEAN DEFAULT false NOT NULL",
)


def upgrade() -> None:
    """Makes the tables, and a column without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

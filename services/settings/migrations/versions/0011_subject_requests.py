"""Requests of data subjects."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE subject_requests (
        subject_request_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        organization_id text NOT NULL REFERENCES organizations,
        request_id text NOT NULL,
        kind smallint NOT NULL,
        state smallint NOT NULL,
        end_user text,
        content_salt bytea NOT NULL,
        content_digest bytea NOT NULL,
        reference text NOT NULL,
        requested_by text NOT NULL,
        created_at timestamptz NOT NULL,
        received_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL,
        remind_at timestamptz,
        look_at timestamptz,
        extension smallint NOT NULL DEFAULT 0,
        reminders integer NOT NULL DEFAULT 0,
        ended_at timestamptz,
        erasure_id text,
        salt bytea,
        commitment bytea,
        certificate_id text,
        kept text[] NOT NULL DEFAULT '{}',
        CONSTRAINT subject_requests_number UNIQUE (number),
        CONSTRAINT subject_requests_request UNIQUE (organization_id, request_id)
    )
    """,
    "CREATE INDEX subject_requests_by_organization ON subject_requests (organization_id, number)",
    "CREATE INDEX subject_requests_to_remind ON subject_requests (remind_at) WHERE remind_at IS NOT NULL",
    "CREATE INDEX subject_requests_to_look ON subject_requests (look_at) WHERE look_at IS NOT NULL",
    "CREATE INDEX subject_requests_unanswered ON subject_requests (kind, due_at) WHERE state IN (1, 2)",
)


def upgrade() -> None:
    """Adds a table."""
    for statement in _STATEMENTS:
        op.execute(statement)

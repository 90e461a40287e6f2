"""Assisted opt-outs, and whom to write to. The version before knows neither."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE assisted_opt_outs (
        assisted_opt_out_id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations,
        state smallint NOT NULL,
        reason text NOT NULL,
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL,
        admins integer NOT NULL,
        decided_by text,
        decided_at timestamptz,
        decision_reason text NOT NULL DEFAULT ''
    )
    """,
    "CREATE UNIQUE INDEX assisted_opt_outs_open ON assisted_opt_outs (organization_id) WHERE state = 1",
    "CREATE INDEX assisted_opt_outs_by_organization ON assisted_opt_outs (organization_id, requested_at)",
    "ALTER TABLE data_controls_changes ADD COLUMN assisted_opt_out_id text NOT NULL DEFAULT ''",
    """
    CREATE TABLE notification_addresses (
        organization_id text NOT NULL REFERENCES organizations,
        topic smallint NOT NULL,
        email_key text NOT NULL,
        email text NOT NULL,
        PRIMARY KEY (organization_id, topic, email_key)
    )
    """,
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

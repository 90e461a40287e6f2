"""Rules over log data: how far each is, what they found, and which flags came of it. The version before writes none of it and keeps working."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE flags ADD COLUMN finding_id text",
    """
    CREATE TABLE log_rule_progress (
        rule_id text PRIMARY KEY,
        looked_until timestamptz NOT NULL,
        settled_until timestamptz NOT NULL,
        taken_until timestamptz
    )
    """,
    """
    CREATE TABLE log_findings (
        finding_id text PRIMARY KEY,
        rule_id text NOT NULL,
        rules_version text NOT NULL,
        organization_id text NOT NULL,
        window_from timestamptz NOT NULL,
        window_until timestamptz NOT NULL,
        counted bigint NOT NULL,
        threshold bigint NOT NULL,
        case_id text NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE,
        found_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX log_findings_by_case ON log_findings (case_id, found_at)",
)


def upgrade() -> None:
    """Makes them."""
    for statement in _STATEMENTS:
        op.execute(statement)

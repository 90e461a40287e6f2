"""Which rules are in force, and what was not screened by whom. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE rules_in_force (
        only_row boolean PRIMARY KEY CHECK (only_row),
        version text NOT NULL,
        digest text NOT NULL,
        since timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE not_screened (
        organization_id text NOT NULL,
        record_id bytea NOT NULL,
        rules_version text NOT NULL,
        detector text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (organization_id, record_id, rules_version, detector)
    )
    """,
    "CREATE INDEX not_screened_by_record ON not_screened (record_id)",
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""Whether usage counts may be sent, with its history. The version before writes neither column: not agreed."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE organizations
        ADD COLUMN usage_agreed boolean NOT NULL DEFAULT false,
        ADD COLUMN revision bigint NOT NULL DEFAULT 0
    """,
    """
    CREATE TABLE usage_agreements (
        organization_id text NOT NULL REFERENCES organizations,
        number bigint NOT NULL,
        usage_agreed boolean NOT NULL,
        entered_at timestamptz NOT NULL,
        effective_at timestamptz NOT NULL,
        entered_by text NOT NULL,
        PRIMARY KEY (organization_id, number)
    )
    """,
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

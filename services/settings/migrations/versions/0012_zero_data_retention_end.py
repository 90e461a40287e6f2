"""How zero data retention ends, and who was copied. The version before ends none."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE zero_data_retention_requests
        ADD COLUMN copied_to text NOT NULL DEFAULT '',
        ADD COLUMN end_approved_by text[] NOT NULL DEFAULT '{}',
        ADD COLUMN ends_at timestamptz,
        ADD COLUMN end_reason text NOT NULL DEFAULT '',
        ADD COLUMN end_effective_at timestamptz
    """,
    "CREATE INDEX zero_data_retention_requests_ending ON zero_data_retention_requests (ends_at) WHERE state = 2",
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""Holds of which the law forbids telling the customer. Empty for all that are there: the version before goes on without them."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE holds
        ADD COLUMN secrecy TEXT DEFAULT '' NOT NULL,
        ADD COLUMN legal_basis TEXT DEFAULT '' NOT NULL,
        ADD COLUMN secrecy_review_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN disclosed_at TIMESTAMP WITH TIME ZONE
    """,
    "CREATE INDEX holds_in_secret ON holds (tried_at) WHERE secrecy <> ''",
)


def upgrade() -> None:
    """Adds the columns."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""What reports count of cases that are gone. The version before counts none of them, and removes only those of erased organizations, which
are not counted."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table."""
    op.execute("""
        CREATE TABLE past_cases (
            day date NOT NULL,
            what text NOT NULL,
            category text NOT NULL,
            rules_version text NOT NULL,
            number bigint NOT NULL,
            PRIMARY KEY (day, what, category, rules_version)
        )
    """)

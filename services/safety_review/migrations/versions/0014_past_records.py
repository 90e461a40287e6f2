"""Of cases that are gone, records flagged on a day are counted beside flags: one that several rules flagged, or a person as well, is one.
Of those that went before, only flags are known: reports go on as they were. What the version before removes after this counts no records."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Gives each day what reports said of it."""
    op.execute("""
        INSERT INTO past_cases (day, what, category, rules_version, number)
        SELECT day, 'record', '', '', sum(number) FROM past_cases WHERE what = 'flagged' GROUP BY day
    """)

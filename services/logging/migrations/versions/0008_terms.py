"""Rows that a contract term keeps beyond their partition, what each run took away of a day, and holds on all that matches. The version
before writes none of it and keeps working: it holds named rows, and drops whole days."""

from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE retained ADD COLUMN by_term BOOLEAN DEFAULT false NOT NULL",
    "ALTER TABLE dropped_counts ADD COLUMN run_id TEXT",
    "UPDATE dropped_counts SET run_id = dropped_days.run_id FROM dropped_days WHERE dropped_days.day = dropped_counts.day",
    """
    CREATE TABLE removals (
        run_id TEXT NOT NULL,
        day DATE NOT NULL,
        dropped BIGINT NOT NULL,
        held BIGINT NOT NULL,
        removed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT removals_pkey PRIMARY KEY (run_id, day)
    )
    """,
    """
    CREATE TABLE standing_holds (
        hold_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        low UUID NOT NULL,
        high UUID NOT NULL,
        end_user TEXT NOT NULL,
        kind SMALLINT,
        CONSTRAINT standing_holds_pkey PRIMARY KEY (hold_id, organization_id)
    )
    """,
    "CREATE INDEX standing_holds_by_organization ON standing_holds (organization_id)",
    "INSERT INTO removals (run_id, day, dropped, held, removed_at) SELECT run_id, day, dropped, held, dropped_at FROM dropped_days",
)


def upgrade() -> None:
    """Adds columns with constant defaults, which rewrites no table."""
    for statement in _STATEMENTS:
        op.execute(statement)

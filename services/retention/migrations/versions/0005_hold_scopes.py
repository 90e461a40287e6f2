"""Holds on all records that match. Nullable or constant columns only: the version before goes on with holds on named records."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE holds
        ADD COLUMN has_scope BOOLEAN DEFAULT false NOT NULL,
        ADD COLUMN first_day DATE,
        ADD COLUMN last_day DATE,
        ADD COLUMN end_user TEXT,
        ADD COLUMN swept_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN sweep_began_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN sweep_after BYTEA,
        ADD COLUMN gone_through DATE,
        ADD COLUMN records_kept BIGINT DEFAULT '0' NOT NULL,
        ADD COLUMN records_lost BIGINT DEFAULT '0' NOT NULL
    """,
    "CREATE INDEX holds_with_scope ON holds (number) WHERE has_scope AND state IN ('PENDING', 'ACTIVE')",
    "CREATE UNIQUE INDEX hold_records_by_record ON hold_records (hold_id, record_id)",
)


def upgrade() -> None:
    """Adds the columns."""
    for statement in _STATEMENTS:
        op.execute(statement)

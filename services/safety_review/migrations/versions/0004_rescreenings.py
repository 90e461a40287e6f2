"""What is stored is screened again, under a grant each. A new table only: the version before knows nothing of it."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table."""
    op.execute("""
    CREATE TABLE rescreenings (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        grant_id text NOT NULL UNIQUE,
        organization_id text NOT NULL,
        created_from timestamptz NOT NULL,
        created_until timestamptz NOT NULL,
        rules_version text NOT NULL,
        started_by text NOT NULL,
        started_at timestamptz NOT NULL,
        after bytea NOT NULL,
        screened bigint NOT NULL,
        left_out bigint NOT NULL,
        state smallint NOT NULL,
        problem text NOT NULL,
        taken_until timestamptz
    )
    """)

"""Evaluation sets and their sealed items. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE evaluation_sets (
        set_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL CONSTRAINT evaluation_sets_number UNIQUE,
        request_id text NOT NULL CONSTRAINT evaluation_sets_request UNIQUE,
        built_by text NOT NULL,
        built_at timestamptz NOT NULL,
        ends_at timestamptz NOT NULL,
        ended_at timestamptz,
        needed_organizations integer NOT NULL,
        categories jsonb NOT NULL,
        removed jsonb NOT NULL,
        sealed_sha256 bytea NOT NULL
    )
    """,
    "CREATE INDEX evaluation_sets_living ON evaluation_sets (ends_at) WHERE ended_at IS NULL",
    """
    CREATE TABLE evaluation_items (
        set_id text NOT NULL REFERENCES evaluation_sets (set_id),
        place integer NOT NULL,
        sealed bytea NOT NULL,
        PRIMARY KEY (set_id, place)
    )
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""Single records about which nothing is stored any more. New tables only: the version before knows nothing of them."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE erased_records (
        organization_id text NOT NULL,
        record_id bytea NOT NULL,
        PRIMARY KEY (organization_id, record_id)
    )
    """,
    "CREATE INDEX erased_records_by_record ON erased_records (record_id)",
    """
    CREATE TABLE record_erasures (
        erasure_id text PRIMARY KEY,
        organization_id text NOT NULL,
        erased_at timestamptz NOT NULL,
        verdicts bigint NOT NULL,
        flags bigint NOT NULL,
        cases bigint NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Makes the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)

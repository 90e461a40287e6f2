"""API keys, by their fingerprints. The version before knows nothing of them."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE api_keys (
        api_key_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        organization_id text NOT NULL REFERENCES organizations,
        request_id text NOT NULL,
        name text NOT NULL,
        kind smallint NOT NULL,
        fingerprint bytea NOT NULL,
        registered_by text NOT NULL,
        registered_at timestamptz NOT NULL,
        revoked_by text,
        revoked_at timestamptz,
        CONSTRAINT api_keys_fingerprint UNIQUE (fingerprint),
        CONSTRAINT api_keys_request UNIQUE (organization_id, request_id)
    )
    """,
    "CREATE INDEX api_keys_by_organization ON api_keys (organization_id, number)",
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""The first schema."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE organizations (
        organization_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        request_id text NOT NULL,
        content_sha256 bytea,
        display_name text NOT NULL,
        tier smallint NOT NULL,
        deployment smallint NOT NULL,
        sales_representative text NOT NULL,
        state smallint NOT NULL,
        zero_data_retention boolean NOT NULL,
        created_at timestamptz NOT NULL,
        known_from timestamptz,
        closed_from timestamptz,
        erasure_id text,
        erased_at timestamptz,
        removed jsonb,
        CONSTRAINT organizations_number UNIQUE (number),
        CONSTRAINT organizations_request UNIQUE (request_id)
    )
    """,
    """
    CREATE TABLE data_controls_changes (
        organization_id text NOT NULL REFERENCES organizations,
        number bigint NOT NULL,
        training_allowed boolean NOT NULL,
        require_customer_approval boolean NOT NULL,
        accepted_at timestamptz NOT NULL,
        effective_at timestamptz NOT NULL,
        changed_by text NOT NULL,
        PRIMARY KEY (organization_id, number)
    )
    """,
    """
    CREATE TABLE gateways (
        name text PRIMARY KEY,
        all_organizations boolean NOT NULL,
        organization_ids text[] NOT NULL,
        effective_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE members (
        member_id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations,
        first_name text NOT NULL,
        last_name text NOT NULL,
        email text NOT NULL,
        email_key text NOT NULL,
        role smallint NOT NULL,
        password_hash text NOT NULL,
        registered_at timestamptz NOT NULL,
        revision bigint NOT NULL,
        CONSTRAINT members_email UNIQUE (email_key)
    )
    """,
    "CREATE INDEX members_by_organization ON members (organization_id, registered_at, member_id)",
    """
    CREATE TABLE sign_in_failures (
        subject_sha256 bytea PRIMARY KEY,
        failures integer NOT NULL,
        last_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX sign_in_failures_by_time ON sign_in_failures (last_at)",
    """
    CREATE TABLE invitations (
        invitation_id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations,
        email text NOT NULL,
        email_key text NOT NULL,
        role smallint NOT NULL,
        token_sha256 bytea NOT NULL,
        invited_by text NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT invitations_token UNIQUE (token_sha256),
        CONSTRAINT invitations_email UNIQUE (organization_id, email_key)
    )
    """,
    """
    CREATE TABLE zero_data_retention_requests (
        request_id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations,
        state smallint NOT NULL,
        commitments_version text NOT NULL,
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL,
        effective_at timestamptz
    )
    """,
    "CREATE UNIQUE INDEX zero_data_retention_requests_open ON zero_data_retention_requests (organization_id) WHERE state = 1",
    "CREATE INDEX zero_data_retention_requests_by_organization ON zero_data_retention_requests (organization_id, requested_at)",
    """
    CREATE TABLE zero_data_retention_decisions (
        request_id text NOT NULL REFERENCES zero_data_retention_requests,
        number smallint NOT NULL,
        decided_by text NOT NULL,
        approve boolean NOT NULL,
        reason text NOT NULL,
        decided_at timestamptz NOT NULL,
        PRIMARY KEY (request_id, number)
    )
    """,
    """
    CREATE TABLE account_deletions (
        account_deletion_id text PRIMARY KEY,
        organization_id text NOT NULL REFERENCES organizations,
        state smallint NOT NULL,
        confirmation_sentence text NOT NULL,
        requested_by text NOT NULL,
        requested_at timestamptz NOT NULL,
        confirmed_by text,
        erases_at timestamptz,
        claim_sha256 bytea
    )
    """,
    "CREATE UNIQUE INDEX account_deletions_open ON account_deletions (organization_id) WHERE state <> 4",
    "CREATE INDEX account_deletions_by_organization ON account_deletions (organization_id, requested_at)",
    "CREATE INDEX account_deletions_due ON account_deletions (erases_at) WHERE state = 2",
    """
    CREATE TABLE policy_changes (
        version bigint PRIMARY KEY,
        subject text NOT NULL,
        payload bytea NOT NULL,
        effective_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX ix_policy_changes_subject ON policy_changes (subject)",
    """
    CREATE TABLE outbox (
        message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL,
        payload bytea NOT NULL,
        put_at timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        not_before timestamptz NOT NULL,
        claimed_until timestamptz,
        refused text
    )
    """,
    "CREATE INDEX outbox_by_kind ON outbox (kind, message_id)",
    "CREATE INDEX outbox_refused ON outbox (kind) WHERE refused IS NOT NULL",
)


def upgrade() -> None:
    """From an empty database."""
    for statement in _STATEMENTS:
        op.execute(statement)

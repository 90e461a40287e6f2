"""Documents, requests for them, sub-processors, and what the public wrote lately. The version before knows nothing of them."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE trust_documents (
        document_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        kind smallint NOT NULL,
        title text NOT NULL,
        version text NOT NULL,
        visibility smallint NOT NULL,
        link text NOT NULL,
        sha256 bytea NOT NULL,
        published_by text NOT NULL,
        published_at timestamptz NOT NULL,
        withdrawn_at timestamptz,
        CONSTRAINT trust_documents_number UNIQUE (number),
        CONSTRAINT trust_documents_version UNIQUE (kind, version)
    )
    """,
    """
    CREATE TABLE trust_requests (
        trust_request_id text PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        request_id text NOT NULL,
        content_sha256 bytea NOT NULL,
        claim_sha256 bytea NOT NULL,
        kind smallint NOT NULL,
        document_id text REFERENCES trust_documents,
        name text NOT NULL,
        email text NOT NULL,
        company text NOT NULL,
        organization_id text REFERENCES organizations,
        state smallint NOT NULL,
        requested_at timestamptz NOT NULL,
        decided_at timestamptz,
        decided_by text,
        reason text NOT NULL,
        link text NOT NULL,
        CONSTRAINT trust_requests_number UNIQUE (number),
        CONSTRAINT trust_requests_request UNIQUE (request_id),
        CONSTRAINT trust_requests_claim UNIQUE (claim_sha256)
    )
    """,
    "CREATE INDEX trust_requests_waiting ON trust_requests (number) WHERE state = 1",
    "CREATE INDEX trust_requests_by_organization ON trust_requests (organization_id) WHERE organization_id IS NOT NULL",
    "CREATE INDEX trust_requests_of_nobody ON trust_requests (requested_at) WHERE organization_id IS NULL",
    """
    CREATE TABLE subprocessor_lists (
        version bigint PRIMARY KEY,
        request_id text NOT NULL,
        content_sha256 bytea NOT NULL,
        published_by text NOT NULL,
        published_at timestamptz NOT NULL,
        effective_at timestamptz NOT NULL,
        announced_at timestamptz,
        withdrawn_at timestamptz,
        told_number bigint NOT NULL,
        CONSTRAINT subprocessor_lists_request UNIQUE (request_id)
    )
    """,
    """
    CREATE TABLE subprocessors (
        version bigint NOT NULL REFERENCES subprocessor_lists,
        position smallint NOT NULL,
        name text NOT NULL,
        purpose text NOT NULL,
        location text NOT NULL,
        data text NOT NULL,
        PRIMARY KEY (version, position)
    )
    """,
    """
    CREATE TABLE subprocessor_objections (
        organization_id text NOT NULL REFERENCES organizations,
        version bigint NOT NULL REFERENCES subprocessor_lists,
        reason text NOT NULL,
        objected_by text NOT NULL,
        objected_at timestamptz NOT NULL,
        PRIMARY KEY (organization_id, version)
    )
    """,
    """
    CREATE TABLE public_requests (
        subject_sha256 bytea PRIMARY KEY,
        requests integer NOT NULL,
        began_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX public_requests_by_time ON public_requests (began_at)",
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

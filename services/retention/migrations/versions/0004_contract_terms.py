"""Contract terms, and the rules of organizations that a run goes by."""

from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE contract_terms (
        term_id TEXT NOT NULL,
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        request_id TEXT NOT NULL,
        content_sha256 BYTEA NOT NULL,
        organization_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        days INTEGER NOT NULL,
        reference TEXT NOT NULL,
        from_day DATE,
        until_day DATE,
        state TEXT NOT NULL,
        proposed_by TEXT NOT NULL,
        proposed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        confirmed_by TEXT DEFAULT '' NOT NULL,
        effective_at TIMESTAMP WITH TIME ZONE,
        end_proposed_by TEXT DEFAULT '' NOT NULL,
        end_proposed_at TIMESTAMP WITH TIME ZONE,
        end_confirmed_by TEXT DEFAULT '' NOT NULL,
        end_reason TEXT DEFAULT '' NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        effect JSONB NOT NULL,
        PRIMARY KEY (term_id),
        UNIQUE (number),
        CONSTRAINT contract_terms_by_request UNIQUE (proposed_by, request_id)
    )
    """,
    "CREATE INDEX contract_terms_by_organization ON contract_terms (organization_id, number)",
    "CREATE UNIQUE INDEX contract_terms_one_proposal ON contract_terms (organization_id) WHERE state = 'PROPOSED'",
    "CREATE INDEX contract_terms_open ON contract_terms (number) WHERE state NOT IN ('ENDED', 'WITHDRAWN')",
)


def upgrade() -> None:
    """Makes the table, which the version before knows nothing of."""
    for statement in _STATEMENTS:
        op.execute(statement)

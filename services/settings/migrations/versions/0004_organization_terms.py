"""What is agreed with an organization, with its history, and what it accepted. The version before writes none of it: no term, no contacts."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE organizations
        ADD COLUMN training_retention_days integer NOT NULL DEFAULT 0,
        ADD COLUMN contract_references text[] NOT NULL DEFAULT '{}',
        ADD COLUMN privacy_contact text NOT NULL DEFAULT '',
        ADD COLUMN support_contact text NOT NULL DEFAULT ''
    """,
    """
    CREATE TABLE organization_changes (
        organization_id text NOT NULL REFERENCES organizations,
        number bigint NOT NULL,
        tier smallint NOT NULL,
        deployment smallint NOT NULL,
        training_retention_days integer NOT NULL,
        contract_references text[] NOT NULL,
        usage_agreed boolean NOT NULL,
        entered_at timestamptz NOT NULL,
        effective_at timestamptz NOT NULL,
        entered_by text NOT NULL,
        PRIMARY KEY (organization_id, number)
    )
    """,
    """
    CREATE TABLE terms_acceptances (
        organization_id text NOT NULL REFERENCES organizations,
        version text NOT NULL,
        duty text NOT NULL,
        accepted_by text NOT NULL,
        accepted_at timestamptz NOT NULL,
        PRIMARY KEY (organization_id, version, duty)
    )
    """,
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

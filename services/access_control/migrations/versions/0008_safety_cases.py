"""What safety review needs of access control: affiliations, ends of evaluation sets' keys, and how often a case was opened. The version
before knows nothing of them, and opens no case a second time."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE affiliations (
        person_id TEXT NOT NULL REFERENCES people (person_id),
        organization_id TEXT NOT NULL,
        declared_by TEXT NOT NULL,
        declared_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (person_id, organization_id)
    )
    """,
    "CREATE INDEX affiliations_by_organization ON affiliations (organization_id)",
    """
    CREATE TABLE evaluation_keys (
        set_id TEXT NOT NULL,
        ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (set_id)
    )
    """,
    "ALTER TABLE cases ADD COLUMN round INTEGER DEFAULT 1 NOT NULL",
)


def upgrade() -> None:
    """Makes the tables, and a column without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""Which rows are sealed to an application's own keys, and live by its term. None that is there: NULL and '' say so.

The version before writes no such rows and takes whole organizations' days: no application gets a term before every process is of this version
(docs/retention.md).
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE interactions ADD COLUMN by_application BOOLEAN",
    "ALTER TABLE retained ADD COLUMN by_application BOOLEAN",
    "ALTER TABLE confidential_rows ADD COLUMN by_application BOOLEAN",
    "ALTER TABLE data_keys ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE stored_counts ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE dropped_counts ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE dropped_counts DROP CONSTRAINT dropped_counts_pkey, "
    "ADD CONSTRAINT dropped_counts_pkey PRIMARY KEY (day, organization_id, application)",
)


def upgrade() -> None:
    """Adds the columns without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

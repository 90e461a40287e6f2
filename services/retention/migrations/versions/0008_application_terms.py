"""Terms of single applications, and what acts destroyed and removed of them. All that is there is of none."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE contract_terms ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE act_epochs ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE act_counts ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE act_counts DROP CONSTRAINT act_counts_pkey, "
    "ADD CONSTRAINT act_counts_pkey PRIMARY KEY (act_id, organization_id, day, application)",
)


def upgrade() -> None:
    """Adds the columns without touching a row. What is counted for an act is there as long as the act goes on."""
    for statement in _STATEMENTS:
        op.execute(statement)

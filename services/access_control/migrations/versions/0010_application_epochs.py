"""Epochs of applications that have terms of their own. All that are there are of none: they open as before.

The version before makes and destroys whole organizations' epochs of a day, and does not know of others: no application gets a term before
every process is of this version (docs/retention.md).
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE epoch_keys ADD COLUMN application TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE epoch_keys DROP CONSTRAINT epoch_keys_pkey, "
    "ADD CONSTRAINT epoch_keys_pkey PRIMARY KEY (organization_id, day, application)",
)


def upgrade() -> None:
    """Adds the column without touching a row, and makes the key's index anew: some seconds for ten million epochs, in which none is read."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""A hold that was let go has no key, whatever is written: one that came back, as the root was replaced at the same moment, goes again."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "UPDATE hold_keys SET wrapped = NULL, root_id = NULL WHERE released_at IS NOT NULL AND wrapped IS NOT NULL",
    "ALTER TABLE hold_keys ADD CONSTRAINT hold_keys_buried CHECK (released_at IS NULL OR wrapped IS NULL)",
)


def upgrade() -> None:
    """The next root leaves such a key behind; its records were forgotten when the hold was let go. Holds are few."""
    for statement in _STATEMENTS:
        op.execute(statement)

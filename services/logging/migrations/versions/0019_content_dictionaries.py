"""Small contents are compressed with a dictionary, which the version before does not have: at once where nothing was stored yet, else in
30 days, until when one may go back to it."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE content_dictionaries (
        number INTEGER NOT NULL,
        usable_from TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT content_dictionaries_pkey PRIMARY KEY (number)
    )
    """,
    """
    INSERT INTO content_dictionaries (number, usable_from)
    SELECT 32769, CASE WHEN EXISTS (SELECT FROM data_keys) THEN now() + interval '30 days' ELSE 'epoch' END
    """,
)


def upgrade() -> None:
    """Adds a table with a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

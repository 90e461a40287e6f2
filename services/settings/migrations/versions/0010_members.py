"""Accounts to full depth: when a password was set, resets, sign-ins as log data, networks that an account is known from.

The version before writes none of it: its passwords were set at registration, and its sign-ins are in the audit log. It removes members
without a look at resets, which go along by themselves.
"""

from alembic import op

revision = "0010"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE members ADD COLUMN password_changed_at timestamptz",
    """
    CREATE TABLE password_reset_requests (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        email_key text NOT NULL,
        requested_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE password_resets (
        handle bytea PRIMARY KEY,
        member_id text NOT NULL REFERENCES members ON DELETE CASCADE,
        requested_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX password_resets_by_member ON password_resets (member_id)",
    "CREATE INDEX password_resets_by_time ON password_resets (expires_at)",
    """
    CREATE TABLE email_changes (
        handle bytea PRIMARY KEY,
        member_id text NOT NULL REFERENCES members ON DELETE CASCADE,
        email text NOT NULL,
        replaced text,
        requested_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX email_changes_by_member ON email_changes (member_id)",
    "CREATE INDEX email_changes_by_time ON email_changes (expires_at)",
    """
    CREATE TABLE sign_ins (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization_id text,
        member_id text,
        outcome smallint NOT NULL,
        at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX sign_ins_by_member ON sign_ins (member_id, number)",
    "CREATE INDEX sign_ins_by_organization ON sign_ins (organization_id)",
    "CREATE INDEX sign_ins_by_time ON sign_ins (at)",
    """
    CREATE TABLE known_sources (
        account_sha256 bytea NOT NULL,
        source_sha256 bytea NOT NULL,
        last_at timestamptz NOT NULL,
        PRIMARY KEY (account_sha256, source_sha256)
    )
    """,
    "CREATE INDEX known_sources_by_time ON known_sources (last_at)",
)


def upgrade() -> None:
    """Adds what no row needs."""
    for statement in _STATEMENTS:
        op.execute(statement)

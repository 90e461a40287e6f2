"""Cases in full: rounds, due times, referrals, appeals; decisions, claims and openings by people; rates of flags. Columns have defaults, so
the version before writes on."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    ALTER TABLE cases
        ADD COLUMN due_at timestamptz,
        ADD COLUMN begun_at timestamptz,
        ADD COLUMN turn integer DEFAULT 1 NOT NULL,
        ADD COLUMN round smallint DEFAULT 1 NOT NULL,
        ADD COLUMN opened_by text DEFAULT '' NOT NULL,
        ADD COLUMN referred boolean DEFAULT false NOT NULL,
        ADD COLUMN note text DEFAULT '' NOT NULL,
        ADD COLUMN earlier_reviewers text[] DEFAULT '{}' NOT NULL,
        ADD COLUMN appealed_at timestamptz,
        ADD COLUMN appealed_by text DEFAULT '' NOT NULL,
        ADD COLUMN appeal_reason text DEFAULT '' NOT NULL,
        ADD COLUMN told_at timestamptz,
        ADD COLUMN rates jsonb DEFAULT '[]' NOT NULL
    """,
    "ALTER TABLE flags ADD COLUMN end_user_hash bytea DEFAULT ''::bytea NOT NULL",
    "CREATE INDEX flags_by_organization ON flags (organization_id, flagged_at)",
    """
    CREATE TABLE decisions (
        case_id text NOT NULL,
        turn integer NOT NULL,
        category text NOT NULL,
        round smallint NOT NULL,
        state smallint NOT NULL,
        overturns boolean NOT NULL,
        begun_at timestamptz NOT NULL,
        due_at timestamptz,
        decided_at timestamptz NOT NULL,
        PRIMARY KEY (case_id, turn)
    )
    """,
    "CREATE INDEX decisions_by_time ON decisions (decided_at)",
    """
    CREATE TABLE openings (
        request_id text PRIMARY KEY,
        person_id text NOT NULL,
        request_sha256 bytea NOT NULL,
        case_id text NOT NULL REFERENCES cases (case_id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE claims (
        person_id text NOT NULL,
        case_id text NOT NULL,
        turn integer NOT NULL,
        claimed_at timestamptz NOT NULL,
        PRIMARY KEY (person_id, case_id, turn)
    )
    """,
    "CREATE INDEX claims_by_time ON claims (claimed_at)",
    # The UTC day of a UUIDv7: its first 48 bits are milliseconds since 1970 (RFC 9562, section 5.7).
    """
    CREATE FUNCTION record_day(record_id bytea) RETURNS date LANGUAGE sql IMMUTABLE STRICT AS $$
        SELECT DATE '1970-01-01' + (('x' || encode(substring(record_id FOR 6), 'hex'))::bit(48)::bigint / 86400000)::integer
    $$
    """,
    """
    CREATE TABLE screened_days (
        day date NOT NULL,
        verdict smallint NOT NULL,
        records bigint NOT NULL,
        PRIMARY KEY (day, verdict)
    )
    """,
)


def upgrade() -> None:
    """Makes tables, and columns without touching a row."""
    for statement in _STATEMENTS:
        op.execute(statement)

"""The first schema."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE verdicts (
        organization_id text NOT NULL,
        record_id bytea NOT NULL,
        rules_version text NOT NULL,
        verdict smallint NOT NULL,
        PRIMARY KEY (organization_id, record_id, rules_version)
    )
    """,
    "CREATE INDEX verdicts_by_record ON verdicts (record_id) WHERE verdict <> 2",
    """
    CREATE TABLE cases (
        case_id text PRIMARY KEY,
        organization_id text NOT NULL,
        category text NOT NULL,
        severity smallint NOT NULL,
        opened_at timestamptz NOT NULL,
        state smallint NOT NULL,
        claimed_by text NOT NULL,
        claimed_until timestamptz,
        decision smallint NOT NULL,
        decided_by text NOT NULL,
        decision_reason text NOT NULL,
        confirmed_by text NOT NULL,
        closed_at timestamptz,
        flag_count integer NOT NULL,
        is_full boolean NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX cases_joinable ON cases (organization_id, category) WHERE state <= 3 AND NOT is_full",
    "CREATE INDEX cases_by_organization ON cases (organization_id)",
    "CREATE INDEX cases_by_severity ON cases (severity DESC, opened_at, case_id)",
    """
    CREATE TABLE flags (
        organization_id text NOT NULL,
        record_id bytea NOT NULL,
        rules_version text NOT NULL,
        case_id text NOT NULL REFERENCES cases,
        rule_ids text[] NOT NULL,
        places jsonb NOT NULL,
        flagged_at timestamptz NOT NULL,
        hold_request_id text NOT NULL,
        hold_ends_at timestamptz NOT NULL,
        PRIMARY KEY (organization_id, record_id, rules_version)
    )
    """,
    "CREATE INDEX flags_by_case ON flags (case_id, flagged_at, record_id)",
    """
    CREATE TABLE erasures (
        organization_id text PRIMARY KEY,
        erasure_id text NOT NULL,
        erased_at timestamptz NOT NULL,
        removed jsonb NOT NULL,
        kept bigint NOT NULL
    )
    """,
    """
    CREATE TABLE outbox (
        message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL,
        payload bytea NOT NULL,
        put_at timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        not_before timestamptz NOT NULL,
        claimed_until timestamptz,
        refused text
    )
    """,
    "CREATE INDEX outbox_by_kind ON outbox (kind, message_id)",
    "CREATE INDEX outbox_refused ON outbox (kind) WHERE refused IS NOT NULL",
)


def upgrade() -> None:
    """From an empty database."""
    for statement in _STATEMENTS:
        op.execute(statement)

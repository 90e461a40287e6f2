"""The first schema."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE act_counts (
        act_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        day DATE NOT NULL,
        removed BIGINT DEFAULT '0' NOT NULL,
        held BIGINT DEFAULT '0' NOT NULL,
        with_content BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (act_id, organization_id, day)
    )
    """,
    """
    CREATE TABLE act_epochs (
        act_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        epoch_key_id TEXT NOT NULL,
        day DATE NOT NULL,
        destruction_id TEXT NOT NULL,
        PRIMARY KEY (act_id, organization_id, epoch_key_id)
    )
    """,
    """
    CREATE TABLE erasures (
        erasure_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        account_deletion_id TEXT NOT NULL,
        confirmed_by TEXT NOT NULL,
        claim_sha256 BYTEA NOT NULL,
        state TEXT NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        closes_at TIMESTAMP WITH TIME ZONE,
        ended_at TIMESTAMP WITH TIME ZONE,
        epochs_destroyed BIGINT DEFAULT '0' NOT NULL,
        marked_at TIMESTAMP WITH TIME ZONE,
        destroyed_at TIMESTAMP WITH TIME ZONE,
        root_key_id TEXT DEFAULT '' NOT NULL,
        key_store_statement TEXT DEFAULT '' NOT NULL,
        is_kept BOOLEAN DEFAULT false NOT NULL,
        is_complete BOOLEAN DEFAULT false NOT NULL,
        tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (erasure_id),
        UNIQUE (organization_id),
        UNIQUE (claim_sha256)
    )
    """,
    """
    CREATE INDEX erasures_unfinished ON erasures (tried_at) WHERE NOT is_complete
    """,
    """
    CREATE TABLE holds (
        hold_id TEXT NOT NULL,
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        request_id TEXT NOT NULL,
        content_sha256 BYTEA NOT NULL,
        kind TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        reference TEXT NOT NULL,
        state TEXT NOT NULL,
        placed_by TEXT NOT NULL,
        placed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        activated_at TIMESTAMP WITH TIME ZONE,
        confirmed_by TEXT DEFAULT '' NOT NULL,
        lapses_at TIMESTAMP WITH TIME ZONE,
        review_at TIMESTAMP WITH TIME ZONE NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        removed BIGINT DEFAULT '0' NOT NULL,
        destruction_id TEXT DEFAULT '' NOT NULL,
        marked_at TIMESTAMP WITH TIME ZONE,
        destroyed_at TIMESTAMP WITH TIME ZONE,
        root_key_id TEXT DEFAULT '' NOT NULL,
        key_store_statement TEXT DEFAULT '' NOT NULL,
        tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (hold_id),
        CONSTRAINT holds_by_request UNIQUE (placed_by, request_id),
        UNIQUE (number)
    )
    """,
    """
    CREATE INDEX holds_by_organization ON holds (organization_id, number)
    """,
    """
    CREATE INDEX holds_to_end ON holds (state, review_at) WHERE state IN ('PENDING', 'ACTIVE')
    """,
    """
    CREATE INDEX holds_unfinished ON holds (tried_at) WHERE state IN ('PENDING', 'RELEASING')
    """,
    """
    CREATE TABLE outbox (
        message_id BIGINT GENERATED ALWAYS AS IDENTITY,
        kind TEXT NOT NULL,
        payload BYTEA NOT NULL,
        put_at TIMESTAMP WITH TIME ZONE NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        not_before TIMESTAMP WITH TIME ZONE NOT NULL,
        claimed_until TIMESTAMP WITH TIME ZONE,
        refused TEXT,
        PRIMARY KEY (message_id)
    )
    """,
    """
    CREATE INDEX outbox_by_kind ON outbox (kind, message_id)
    """,
    """
    CREATE INDEX outbox_refused ON outbox (kind) WHERE refused IS NOT NULL
    """,
    """
    CREATE TABLE rule_changes (
        version BIGSERIAL NOT NULL,
        subject TEXT NOT NULL,
        payload BYTEA NOT NULL,
        effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (version)
    )
    """,
    """
    CREATE INDEX ix_rule_changes_subject ON rule_changes (subject)
    """,
    """
    CREATE TABLE runs (
        run_id TEXT NOT NULL,
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        state TEXT NOT NULL,
        through_day DATE NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE NOT NULL,
        started_by TEXT NOT NULL,
        ended_at TIMESTAMP WITH TIME ZONE,
        term_kind TEXT NOT NULL,
        term_days INTEGER NOT NULL,
        run_window_seconds INTEGER NOT NULL,
        rule_version BIGINT NOT NULL,
        rule_effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
        epochs_destroyed BIGINT DEFAULT '0' NOT NULL,
        records_removed BIGINT DEFAULT '0' NOT NULL,
        records_held BIGINT DEFAULT '0' NOT NULL,
        certificates BIGINT DEFAULT '0' NOT NULL,
        late_seconds BIGINT DEFAULT '0' NOT NULL,
        marked_at TIMESTAMP WITH TIME ZONE,
        destroyed_at TIMESTAMP WITH TIME ZONE,
        root_key_id TEXT DEFAULT '' NOT NULL,
        key_store_statement TEXT DEFAULT '' NOT NULL,
        days_listed BOOLEAN DEFAULT false NOT NULL,
        days_token TEXT DEFAULT '' NOT NULL,
        is_checked BOOLEAN DEFAULT false NOT NULL,
        certified_by TEXT,
        PRIMARY KEY (run_id),
        UNIQUE (number)
    )
    """,
    """
    CREATE UNIQUE INDEX runs_one_at_a_time ON runs ((true)) WHERE state NOT IN ('DONE', 'NOT_CERTIFIED')
    """,
    """
    CREATE TABLE signing_keys (
        key_id TEXT NOT NULL,
        public_key BYTEA NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (key_id)
    )
    """,
    """
    CREATE TABLE certificates (
        certificate_id TEXT NOT NULL,
        number BIGINT GENERATED ALWAYS AS IDENTITY,
        organization_id TEXT NOT NULL,
        act_id TEXT NOT NULL,
        is_further BOOLEAN DEFAULT false NOT NULL,
        signed_at TIMESTAMP WITH TIME ZONE NOT NULL,
        body BYTEA NOT NULL,
        key_id TEXT NOT NULL,
        signature BYTEA NOT NULL,
        entry_id TEXT NOT NULL,
        envelope BYTEA,
        tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
        PRIMARY KEY (certificate_id),
        CONSTRAINT certificates_by_act UNIQUE (act_id, organization_id, is_further),
        UNIQUE (number),
        FOREIGN KEY(key_id) REFERENCES signing_keys (key_id)
    )
    """,
    """
    CREATE INDEX certificates_by_organization ON certificates (organization_id, number)
    """,
    """
    CREATE INDEX certificates_unfinished ON certificates (tried_at) WHERE envelope IS NULL
    """,
    """
    CREATE TABLE erasure_receipts (
        erasure_id TEXT NOT NULL,
        service TEXT NOT NULL,
        erased_at TIMESTAMP WITH TIME ZONE NOT NULL,
        removed JSONB NOT NULL,
        kept BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (erasure_id, service),
        FOREIGN KEY(erasure_id) REFERENCES erasures (erasure_id)
    )
    """,
    """
    CREATE TABLE hold_records (
        hold_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        record_id BYTEA NOT NULL,
        day DATE NOT NULL,
        lost BOOLEAN DEFAULT false NOT NULL,
        PRIMARY KEY (hold_id, position),
        FOREIGN KEY(hold_id) REFERENCES holds (hold_id)
    )
    """,
    """
    CREATE TABLE run_days (
        run_id TEXT NOT NULL,
        day DATE NOT NULL,
        dropped_at TIMESTAMP WITH TIME ZONE,
        is_refused BOOLEAN DEFAULT false NOT NULL,
        dropped BIGINT DEFAULT '0' NOT NULL,
        held BIGINT DEFAULT '0' NOT NULL,
        counts_token TEXT DEFAULT '' NOT NULL,
        counts_listed BOOLEAN DEFAULT false NOT NULL,
        PRIMARY KEY (run_id, day),
        FOREIGN KEY(run_id) REFERENCES runs (run_id)
    )
    """,
    """
    CREATE TABLE run_sources (
        run_id TEXT NOT NULL,
        source_run_id TEXT NOT NULL,
        epochs_token TEXT DEFAULT '' NOT NULL,
        epochs_listed BOOLEAN DEFAULT false NOT NULL,
        PRIMARY KEY (run_id, source_run_id),
        FOREIGN KEY(run_id) REFERENCES runs (run_id),
        FOREIGN KEY(source_run_id) REFERENCES runs (run_id)
    )
    """,
)

_TABLES = (
    "run_sources",
    "run_days",
    "hold_records",
    "erasure_receipts",
    "certificates",
    "signing_keys",
    "runs",
    "rule_changes",
    "outbox",
    "holds",
    "erasures",
    "act_epochs",
    "act_counts",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)

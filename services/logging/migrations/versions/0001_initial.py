"""The first schema."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Makes everything."""
    _records()
    _fences_and_counts()
    _lifecycle()
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("put_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("claimed_until", _TIME),
        sa.Column("refused", sa.Text),
    )
    op.create_index("outbox_by_kind", "outbox", ["kind", "message_id"])
    op.create_index("outbox_refused", "outbox", ["kind"], postgresql_where=sa.text("refused IS NOT NULL"))


def _record_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("application", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("end_user", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("generation_tokens", sa.Integer, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("latency_us", sa.BigInteger),
        sa.Column("data_key_id", sa.Uuid),
        sa.Column("content", sa.LargeBinary),
        sa.Column("verdict", sa.SmallInteger),
        sa.Column("rules_version", sa.Text),
    ]


def _records() -> None:
    op.create_table(
        "interactions",
        *_record_columns(),
        sa.PrimaryKeyConstraint("organization_id", "record_id", name="interactions_pkey"),
        sa.CheckConstraint("(data_key_id IS NULL) = (content IS NULL)", name="interactions_sealed"),
        postgresql_partition_by="RANGE (record_id)",
    )
    op.create_table(
        "retained",
        *_record_columns(),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("sealed_data_key", sa.LargeBinary),
        sa.PrimaryKeyConstraint("organization_id", "record_id", name="retained_pkey"),
        sa.CheckConstraint("(data_key_id IS NULL) = (content IS NULL)", name="retained_sealed"),
    )
    op.create_index("retained_by_day", "retained", ["day", "organization_id"])
    # Sealed content is compressed and random: PostgreSQL need not try again.
    op.execute("ALTER TABLE interactions ALTER COLUMN content SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE retained ALTER COLUMN content SET STORAGE EXTERNAL")
    op.create_table(
        "data_keys",
        sa.Column("data_key_id", sa.Uuid, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("data_keys_by_organization", "data_keys", ["organization_id", "day"])
    op.create_index("data_keys_by_day", "data_keys", ["day"])
    op.create_table(
        "unscreened",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("claimed_until", _TIME),
        sa.Column("given_up", sa.Boolean, nullable=False, server_default="false"),
        sa.PrimaryKeyConstraint("organization_id", "record_id", name="unscreened_pkey"),
    )
    op.create_index("unscreened_by_age", "unscreened", ["given_up", "received_at"])


def _fences_and_counts() -> None:
    op.create_table(
        "organization_fences",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("closed_at", _TIME, nullable=False),
    )
    op.create_table(
        "day_fences",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("closed_at", _TIME, nullable=False),
    )
    op.create_table(
        "stored_counts",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("records_with_content", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "organization_id", "writer", name="stored_counts_pkey"),
    )
    op.create_index("stored_counts_by_organization", "stored_counts", ["organization_id"])


def _lifecycle() -> None:
    op.create_table(
        "holds",
        sa.Column("hold_id", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("record_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("hold_id", "organization_id", "record_id", name="holds_pkey"),
    )
    op.create_index("holds_by_record", "holds", ["organization_id", "record_id"])
    op.create_table(
        "released_holds",
        sa.Column("hold_id", sa.Text, primary_key=True),
        sa.Column("removed", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "dropped_days",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("dropped_at", _TIME, nullable=False),
        sa.Column("dropped", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "dropped_counts",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("records", sa.BigInteger, nullable=False),
        sa.Column("records_with_content", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "organization_id", name="dropped_counts_pkey"),
    )
    op.create_index("dropped_counts_by_organization", "dropped_counts", ["organization_id"])
    op.create_table(
        "erasure_receipts",
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("erasure_id", sa.Text, nullable=False),
        sa.Column("erased_at", _TIME, nullable=False),
        sa.Column("removed", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "erasure_id", name="erasure_receipts_pkey"),
    )

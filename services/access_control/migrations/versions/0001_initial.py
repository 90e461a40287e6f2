"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes everything."""
    _custody_and_audit()
    _directory_and_grants()


def _custody_and_audit() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "custody_ladder",
        sa.Column("only", sa.Boolean, primary_key=True),
        sa.Column("root_id", sa.Text, nullable=False),
        sa.CheckConstraint("only", name="custody_ladder_one_row"),
    )
    op.create_table(
        "custody_roots",
        sa.Column("root_id", sa.Text, primary_key=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("canary", sa.LargeBinary, nullable=False),
        sa.Column("retired_at", moment),
        sa.Column("retired_lsn", sa.Text),
        sa.Column("destroyed_at", moment),
    )
    op.create_table(
        "organization_keys",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("root_id", sa.Text),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("closed_at", moment),
    )
    op.create_table(
        "epoch_keys",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("epoch_key_id", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("marked_at", moment),
        sa.Column("destruction_id", sa.Text),
        sa.UniqueConstraint("epoch_key_id", name="epoch_keys_id"),
    )
    op.create_index("epoch_keys_by_day", "epoch_keys", ["day", "organization_id"])
    op.create_index("epoch_keys_by_destruction", "epoch_keys", ["destruction_id", "organization_id", "day"])
    op.create_table(
        "hold_keys",
        sa.Column("hold_id", sa.Text, primary_key=True),
        sa.Column("root_id", sa.Text),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("released_at", moment),
    )
    op.create_table(
        "retained_records",
        sa.Column("hold_id", sa.Text, primary_key=True),
        sa.Column("record_id", sa.LargeBinary, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
    )
    op.create_index("retained_records_by_organization", "retained_records", ["organization_id", "record_id"])
    op.create_table(
        "destructions",
        sa.Column("destruction_id", sa.Text, primary_key=True),
        sa.Column("target_kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("marked_through", sa.Text, nullable=False),
        sa.Column("epochs", sa.BigInteger, nullable=False),
        sa.Column("organizations", sa.BigInteger, nullable=False),
        sa.Column("begun_at", moment, nullable=False),
        sa.Column("marked_at", moment),
        sa.Column("root_id", sa.Text),
        sa.Column("destroyed_at", moment),
        sa.Column("key_store_statement", sa.Text, nullable=False),
    )
    op.create_index("destructions_by_state", "destructions", ["state"])
    op.create_table(
        "audit_entries",
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Column("appended_at", moment, nullable=False),
        sa.Column("number", sa.BigInteger),
        sa.Column("previous_leaf_hash", sa.LargeBinary),
        sa.Column("leaf_index", sa.BigInteger),
        sa.UniqueConstraint("entry_id", name="audit_entries_id"),
        sa.UniqueConstraint("organization_id", "number", name="audit_entries_number"),
        sa.UniqueConstraint("leaf_index", name="audit_entries_leaf"),
    )
    op.create_index(
        "audit_entries_waiting", "audit_entries", ["sequence"], postgresql_where=sa.text("leaf_index IS NULL")
    )
    op.create_table(
        "audit_chains",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("last_leaf_hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_nodes",
        sa.Column("level", sa.SmallInteger, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_tree",
        sa.Column("only", sa.Boolean, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("only", name="audit_tree_one_row"),
    )
    op.create_table(
        "audit_signing_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", moment, nullable=False),
    )


def _directory_and_grants() -> None:
    """Filled by the directory's and grants' schema."""

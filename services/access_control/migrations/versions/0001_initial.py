"""The first schema."""

from typing import Any

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
    _outbox()
    _policy_sets()


def _custody_and_audit() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "custody_ladder",
        sa.Column("singleton", sa.Boolean, primary_key=True),
        sa.Column("root_id", sa.Text, nullable=False),
        sa.CheckConstraint("singleton", name="custody_ladder_one_row"),
    )
    op.create_table(
        "custody_roots",
        sa.Column("root_id", sa.Text, primary_key=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("canary", sa.LargeBinary, nullable=False),
        sa.Column("retired_at", moment),
        sa.Column("retired_lsn", sa.Text),
        sa.Column("superseded_at", moment),
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
        postgresql_with={"fillfactor": 45},
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
        postgresql_with={"fillfactor": 50, "toast_tuple_target": 128},
    )
    op.execute("ALTER TABLE epoch_keys ALTER COLUMN public_key SET STORAGE EXTERNAL")
    op.create_index(
        "epoch_keys_living",
        "epoch_keys",
        ["organization_id", "day"],
        postgresql_where=sa.text("marked_at IS NULL"),
    )
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
    )
    op.create_index(
        "audit_entries_number",
        "audit_entries",
        ["organization_id", "number"],
        unique=True,
        postgresql_where=sa.text("number IS NOT NULL"),
    )
    op.create_index(
        "audit_entries_leaf",
        "audit_entries",
        ["leaf_index"],
        unique=True,
        postgresql_where=sa.text("leaf_index IS NOT NULL"),
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
        sa.Column("singleton", sa.Boolean, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root_hash", sa.LargeBinary, nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("singleton", name="audit_tree_one_row"),
    )
    op.create_table(
        "audit_signing_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("retired_at", moment),
        sa.Column("revoked_at", moment),
    )


def _review_columns() -> list[sa.Column[Any]]:
    moment = sa.DateTime(timezone=True)
    return [
        sa.Column("reviewed_by", sa.Text, nullable=False),
        sa.Column("reviewed_at", moment, nullable=False),
        sa.Column("review_due_at", moment, nullable=False),
        sa.Column("lapses_at", moment, nullable=False),
        sa.Column("due_noted_at", moment),
        sa.Column("lapse_noted_at", moment),
    ]


def _directory_and_grants() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "providers",
        sa.Column("provider_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("confirmed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_at", moment),
        *_review_columns(),
        sa.UniqueConstraint("number", name="providers_number"),
    )
    op.create_table(
        "people",
        sa.Column("person_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_folded", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("disabled_at", moment),
        sa.Column("provider_id", sa.Text, sa.ForeignKey("providers.provider_id")),
        sa.UniqueConstraint("email_folded", name="people_email"),
        sa.UniqueConstraint("number", name="people_number"),
    )
    op.create_index(
        "people_by_provider", "people", ["provider_id"], postgresql_where=sa.text("provider_id IS NOT NULL")
    )
    op.create_table(
        "identities",
        sa.Column("identity_id", sa.Text, primary_key=True),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_folded", sa.Text, nullable=False),
        sa.Column("person_id", sa.Text, sa.ForeignKey("people.person_id"), nullable=False),
        sa.Column("linked_by", sa.Text, nullable=False),
        sa.Column("linked_at", moment, nullable=False),
        sa.Column("confirmed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_at", moment),
        sa.UniqueConstraint("issuer", "subject", name="identities_token"),
        sa.UniqueConstraint("issuer", "subject_folded", name="identities_subject"),
    )
    op.create_index("identities_by_person", "identities", ["person_id"])
    op.create_table(
        "role_assignments",
        sa.Column("role_assignment_id", sa.Text, primary_key=True),
        sa.Column("person_id", sa.Text, sa.ForeignKey("people.person_id"), nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("assigned_by", sa.Text, nullable=False),
        sa.Column("assigned_at", moment, nullable=False),
        sa.Column("confirmed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("confirmed_at", moment),
        sa.Column("ended_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_at", moment),
        *_review_columns(),
    )
    op.create_index(
        "role_assignments_standing",
        "role_assignments",
        ["person_id", "role"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "agreements",
        sa.Column("agreement_id", sa.Text, primary_key=True),
        sa.Column("person_id", sa.Text, sa.ForeignKey("people.person_id")),
        sa.Column("provider_id", sa.Text, sa.ForeignKey("providers.provider_id")),
        sa.Column("kinds", sa.ARRAY(sa.Integer), nullable=False),
        sa.Column("document_sha256", sa.LargeBinary, nullable=False),
        sa.Column("signed_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("recorded_by", sa.Text, nullable=False),
        sa.Column("recorded_at", moment, nullable=False),
        sa.Column("ended_by", sa.Text, nullable=False, server_default=""),
        sa.Column("ended_at", moment),
        *_review_columns(),
        sa.CheckConstraint("(person_id IS NULL) <> (provider_id IS NULL)", name="agreements_one_signer"),
    )
    op.create_index("agreements_by_person", "agreements", ["person_id"])
    op.create_index("agreements_by_provider", "agreements", ["provider_id"])
    op.create_table(
        "looks",
        sa.Column("field", sa.Text, primary_key=True),
        sa.Column("look", sa.Text, primary_key=True),
        sa.Column("bearer_id", sa.Text, nullable=False),
    )
    op.create_table(
        "members",
        sa.Column("member_id", sa.Text, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("members_by_organization", "members", ["organization_id"])
    op.create_table(
        "erasures",
        sa.Column("organization_id", sa.Text, primary_key=True),
        sa.Column("erasure_id", sa.Text, nullable=False),
        sa.Column("erased_at", moment, nullable=False),
        sa.Column("grants", sa.BigInteger, nullable=False),
        sa.Column("members", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("requested_by", sa.Text, sa.ForeignKey("people.person_id"), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("detail", sa.Integer, nullable=False),
        sa.Column("budget", sa.Integer, nullable=False),
        sa.Column("covers_from", moment),
        sa.Column("covers_until", moment),
        sa.Column("record_ids", sa.LargeBinary, nullable=False),
        sa.Column("case_id", sa.Text, nullable=False),
        sa.Column("power", sa.Integer, nullable=False),
        sa.Column("purpose", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("requested_at", moment, nullable=False),
        sa.Column("request_expires_at", moment, nullable=False),
        sa.Column("duration", sa.Interval, nullable=False),
        sa.Column("start_at", moment),
        sa.Column("valid_from", moment),
        sa.Column("expires_at", moment),
        sa.Column("ended_at", moment),
        sa.Column("used", sa.Integer, nullable=False, server_default="0"),
        sa.Column("permission", sa.Integer, nullable=False),
        sa.Column("asked", sa.LargeBinary),
        sa.Column("round", sa.Integer, nullable=False, server_default="0"),
        sa.Column("extension_duration", sa.Interval),
        sa.Column("extension_reason", sa.Text, nullable=False, server_default=""),
        sa.Column("extension_requested_at", moment),
        sa.Column("rules", sa.Text, nullable=False, server_default=""),
        sa.Column("review_due_at", moment),
        sa.Column("review_reminded", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("review_verdict", sa.Integer, nullable=False, server_default="0"),
        sa.Column("reviewed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("reviewed_at", moment),
        sa.Column("review_note", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint("requested_by", "request_id", name="grants_request"),
        sa.UniqueConstraint("number", name="grants_number"),
    )
    op.create_index("grants_by_organization", "grants", ["organization_id", "number"])
    op.create_index("grants_by_case", "grants", ["case_id"], postgresql_where=sa.text("case_id <> ''"))
    # 1 is requested, 2 approved, 5 revoked: kept.access_control.v1.GrantState.
    op.create_index("grants_revoked", "grants", ["ended_at"], postgresql_where=sa.text("state = 5"))
    op.create_index("grants_open", "grants", ["requested_by"], postgresql_where=sa.text("state IN (1, 2)"))
    op.create_index(
        "grants_unreviewed",
        "grants",
        ["review_due_at"],
        postgresql_where=sa.text("review_due_at IS NOT NULL AND review_verdict = 0"),
    )
    op.create_table(
        "approvals",
        sa.Column("grant_id", sa.Text, sa.ForeignKey("grants.grant_id"), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("approved_by", sa.Text, primary_key=True),
        sa.Column("by_customer", sa.Boolean, nullable=False),
        sa.Column("approved_at", moment, nullable=False),
    )
    op.create_index("approvals_by_approver", "approvals", ["approved_by"])
    op.create_table(
        "opened_records",
        sa.Column("grant_id", sa.Text, primary_key=True),
        sa.Column("record_id", sa.LargeBinary, primary_key=True),
        sa.Column("opened_at", moment, nullable=False),
    )
    op.create_table(
        "permission_records",
        sa.Column("permission", sa.Integer, primary_key=True),
        sa.Column("record_id", sa.LargeBinary, primary_key=True),
        sa.Column("opened_at", moment, nullable=False),
    )
    op.create_table(
        "cases",
        sa.Column("case_id", sa.Text, primary_key=True),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("closed_at", moment),
    )
    op.create_table(
        "case_records",
        sa.Column("case_id", sa.Text, sa.ForeignKey("cases.case_id"), primary_key=True),
        sa.Column("record_id", sa.LargeBinary, primary_key=True),
    )


def _outbox() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "outbox",
        sa.Column("message_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("put_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", moment, nullable=False),
        sa.Column("claimed_until", moment),
        sa.Column("refused", sa.Text),
    )
    op.create_index("outbox_by_kind", "outbox", ["kind", "message_id"])
    op.create_index("outbox_refused", "outbox", ["kind"], postgresql_where=sa.text("refused IS NOT NULL"))


def _policy_sets() -> None:
    op.create_table(
        "policy_sets",
        sa.Column("policy_set", sa.Text, primary_key=True),
        sa.Column("policies", sa.Text, nullable=False),
        sa.Column("used_from", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("policy_sets_by_use", "policy_sets", ["used_from"])

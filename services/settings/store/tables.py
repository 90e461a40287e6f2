"""The tables. `migrations/versions` writes the same out as DDL, and a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.change_feed import change_table
from shared.outbox import outbox_table, position_table

metadata = MetaData()
_Instant = DateTime(timezone=True)

organizations = Table(
    "organizations",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("request_id", Text, nullable=False),
    # Of what was asked for at creation, to tell a repetition from another request; gone once erased.
    Column("content_sha256", LargeBinary),
    Column("display_name", Text, nullable=False),
    Column("tier", SmallInteger, nullable=False),
    Column("deployment", SmallInteger, nullable=False),
    Column("sales_representative", Text, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("zero_data_retention", Boolean, nullable=False),
    Column("created_at", _Instant, nullable=False),
    # When the creation and the closing count everywhere.
    Column("known_from", _Instant),
    Column("closed_from", _Instant),
    Column("erasure_id", Text),
    Column("erased_at", _Instant),
    Column("removed", JSONB),
    # What is agreed now, and how often that was changed; the history is in `usage_agreements`.
    Column("usage_agreed", Boolean, nullable=False, server_default="false"),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    # Of the agreement, and whom to write to there; the history of the former is in `organization_changes`.
    Column("training_retention_days", Integer, nullable=False, server_default="0"),
    Column("contract_references", ARRAY(Text), nullable=False, server_default="{}"),
    Column("privacy_contact", Text, nullable=False, server_default=""),
    Column("support_contact", Text, nullable=False, server_default=""),
    # What was logged before is erased: the organization asked for it together with zero data retention.
    Column("content_erased_before", _Instant),
    UniqueConstraint("number", name="organizations_number"),
    UniqueConstraint("request_id", name="organizations_request"),
)

data_controls_changes = Table(
    "data_controls_changes",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("training_allowed", Boolean, nullable=False),
    Column("require_customer_approval", Boolean, nullable=False),
    Column("accepted_at", _Instant, nullable=False),
    Column("effective_at", _Instant, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("assisted_opt_out_id", Text, nullable=False, server_default=""),
)

# Training turned off by two of the vendor's people, for an organization whose admins cannot be reached.
assisted_opt_outs = Table(
    "assisted_opt_outs",
    metadata,
    Column("assisted_opt_out_id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", _Instant, nullable=False),
    Column("admins", Integer, nullable=False),
    Column("decided_by", Text),
    Column("decided_at", _Instant),
    Column("decision_reason", Text, nullable=False, server_default=""),
    # At most one that waits for a decision.
    Index("assisted_opt_outs_open", "organization_id", unique=True, postgresql_where=text("state = 1")),
    Index("assisted_opt_outs_by_organization", "organization_id", "requested_at"),
)

# Whom the vendor writes to, by what about; no history, for an address that is gone has to be gone.
notification_addresses = Table(
    "notification_addresses",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("topic", SmallInteger, primary_key=True, autoincrement=False),
    # The address in lower case, as everywhere.
    Column("email_key", Text, primary_key=True),
    Column("email", Text, nullable=False),
)

# What is agreed, all of it: rows are added, never changed. number: the organization's revision from then on.
organization_changes = Table(
    "organization_changes",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tier", SmallInteger, nullable=False),
    Column("deployment", SmallInteger, nullable=False),
    Column("training_retention_days", Integer, nullable=False),
    Column("contract_references", ARRAY(Text), nullable=False),
    Column("usage_agreed", Boolean, nullable=False),
    Column("entered_at", _Instant, nullable=False),
    Column("effective_at", _Instant, nullable=False),
    Column("entered_by", Text, nullable=False),
)

# What customers accepted of their own duties: rows are added, never changed.
terms_acceptances = Table(
    "terms_acceptances",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("version", Text, primary_key=True),
    Column("duty", Text, primary_key=True),
    Column("accepted_by", Text, nullable=False),
    Column("accepted_at", _Instant, nullable=False),
)

# Whether usage counts may be sent: rows are added, never changed. number: the organization's revision from then on.
usage_agreements = Table(
    "usage_agreements",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("usage_agreed", Boolean, nullable=False),
    Column("entered_at", _Instant, nullable=False),
    Column("effective_at", _Instant, nullable=False),
    Column("entered_by", Text, nullable=False),
)

# API keys by their SHA-256; revoked ones stay.
api_keys = Table(
    "api_keys",
    metadata,
    Column("api_key_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("registered_at", _Instant, nullable=False),
    Column("revoked_by", Text),
    Column("revoked_at", _Instant),
    UniqueConstraint("fingerprint", name="api_keys_fingerprint"),
    UniqueConstraint("organization_id", "request_id", name="api_keys_request"),
    Index("api_keys_by_organization", "organization_id", "number"),
)

gateways = Table(
    "gateways",
    metadata,
    Column("name", Text, primary_key=True),
    Column("all_organizations", Boolean, nullable=False),
    Column("organization_ids", ARRAY(Text), nullable=False),
    Column("effective_at", _Instant, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("member_id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    # The e-mail in lower case: one account an address, over all organizations.
    Column("email_key", Text, nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("registered_at", _Instant, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # None: at registration.
    Column("password_changed_at", _Instant),
    UniqueConstraint("email_key", name="members_email"),
    Index("members_by_organization", "organization_id", "registered_at", "member_id"),
)

# Failed sign-ins, by the SHA-256 of an address or of a source; both exist for people who do not.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("subject_sha256", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", _Instant, nullable=False),
    Index("sign_in_failures_by_time", "last_at"),
)

# Networks that an account was signed in from, both by their SHA-256: whoever guesses elsewhere does not hold these up.
known_sources = Table(
    "known_sources",
    metadata,
    Column("account_sha256", LargeBinary, primary_key=True),
    Column("source_sha256", LargeBinary, primary_key=True),
    Column("last_at", _Instant, nullable=False),
    Index("known_sources_by_time", "last_at"),
)

# Sign-ins, as log data: no name, no address, no source. Neither id is set where nobody has the address that was tried.
sign_ins = Table(
    "sign_ins",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("organization_id", Text),
    Column("member_id", Text),
    Column("outcome", SmallInteger, nullable=False),
    Column("at", _Instant, nullable=False),
    Index("sign_ins_by_member", "member_id", "number"),
    Index("sign_ins_by_organization", "organization_id"),
    Index("sign_ins_by_time", "at"),
)

# Addresses for which a new password was asked, known or not, until a job has looked.
password_reset_requests = Table(
    "password_reset_requests",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("email_key", Text, nullable=False),
    Column("requested_at", _Instant, nullable=False),
)

# Resets that can be used: each once. The token is signed over the handle and made when it is sent; it lies nowhere.
password_resets = Table(
    "password_resets",
    metadata,
    Column("handle", LargeBinary, primary_key=True),
    Column("member_id", Text, ForeignKey("members.member_id", ondelete="CASCADE"), nullable=False),
    Column("requested_at", _Instant, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    Index("password_resets_by_member", "member_id"),
    Index("password_resets_by_time", "expires_at"),
)

# Changes of an account's address. replaced: the old one, once it is changed; it is told, and kept until that is over.
email_changes = Table(
    "email_changes",
    metadata,
    Column("handle", LargeBinary, primary_key=True),
    Column("member_id", Text, ForeignKey("members.member_id", ondelete="CASCADE"), nullable=False),
    Column("email", Text, nullable=False),
    Column("replaced", Text),
    Column("requested_at", _Instant, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    Index("email_changes_by_member", "member_id"),
    Index("email_changes_by_time", "expires_at"),
)

invitations = Table(
    "invitations",
    metadata,
    Column("invitation_id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False),
    Column("role", SmallInteger, nullable=False),
    Column("token_sha256", LargeBinary, nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("expires_at", _Instant, nullable=False),
    UniqueConstraint("token_sha256", name="invitations_token"),
    UniqueConstraint("organization_id", "email_key", name="invitations_email"),
)

zero_data_retention_requests = Table(
    "zero_data_retention_requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("commitments_version", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", _Instant, nullable=False),
    Column("effective_at", _Instant),
    # Who was sent a copy, by address.
    Column("copied_to", Text, nullable=False, server_default=""),
    Column("end_approved_by", ARRAY(Text), nullable=False, server_default="{}"),
    Column("ends_at", _Instant),
    Column("end_reason", Text, nullable=False, server_default=""),
    Column("end_effective_at", _Instant),
    # What was logged before is erased, and retention's erasure of it.
    Column("erase_logged_before", Boolean, nullable=False, server_default="false"),
    Column("erasure_id", Text, nullable=False, server_default=""),
    # When those people said so, in the same order; nothing for who said so to a process of the version before.
    Column("end_approved_at", ARRAY(_Instant), nullable=False, server_default="{}"),
    # kept.settings.v1.ZeroDataRetentionEnd: why there is an `ends_at`.
    Column("end_cause", SmallInteger, nullable=False, server_default="0"),
    Index("zero_data_retention_requests_ending", "ends_at", postgresql_where=text("state = 2")),
    # At most one that waits for a decision.
    Index(
        "zero_data_retention_requests_open",
        "organization_id",
        unique=True,
        postgresql_where=text("state = 1"),
    ),
    Index("zero_data_retention_requests_by_organization", "organization_id", "requested_at"),
)

zero_data_retention_decisions = Table(
    "zero_data_retention_decisions",
    metadata,
    Column("request_id", Text, ForeignKey("zero_data_retention_requests.request_id"), primary_key=True),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("decided_by", Text, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", _Instant, nullable=False),
)

account_deletions = Table(
    "account_deletions",
    metadata,
    Column("account_deletion_id", Text, primary_key=True),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("confirmation_sentence", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", _Instant, nullable=False),
    Column("confirmed_by", Text),
    Column("erases_at", _Instant),
    Column("claim_sha256", LargeBinary),
    Column("confirmed_at", _Instant),
    Column("cancelled_by", Text),
    Column("cancelled_at", _Instant),
    # Retention's, once it has taken over.
    Column("erasure_id", Text),
    # At most one that is not cancelled.
    Index("account_deletions_open", "organization_id", unique=True, postgresql_where=text("state <> 4")),
    Index("account_deletions_by_organization", "organization_id", "requested_at"),
    Index("account_deletions_due", "erases_at", postgresql_where=text("state = 2")),
)

# end_user: the pseudonym, as long as somebody needs it. remind_at, look_at: when the job has something to do with it.
subject_requests = Table(
    "subject_requests",
    metadata,
    Column("subject_request_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("end_user", Text),
    Column("content_salt", LargeBinary, nullable=False),
    Column("content_digest", LargeBinary, nullable=False),
    Column("reference", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("created_at", _Instant, nullable=False),
    Column("received_at", _Instant, nullable=False),
    Column("due_at", _Instant, nullable=False),
    Column("remind_at", _Instant),
    Column("look_at", _Instant),
    Column("extension", SmallInteger, nullable=False, server_default="0"),
    Column("reminders", Integer, nullable=False, server_default="0"),
    Column("ended_at", _Instant),
    Column("erasure_id", Text),
    # Retention's: with the salt a certificate is shown to be of this end user.
    Column("salt", LargeBinary),
    Column("commitment", LargeBinary),
    Column("certificate_id", Text),
    Column("kept", ARRAY(Text), nullable=False, server_default="{}"),
    UniqueConstraint("number", name="subject_requests_number"),
    UniqueConstraint("organization_id", "request_id", name="subject_requests_request"),
    Index("subject_requests_by_organization", "organization_id", "number"),
    Index("subject_requests_to_remind", "remind_at", postgresql_where=text("remind_at IS NOT NULL")),
    Index("subject_requests_to_look", "look_at", postgresql_where=text("look_at IS NOT NULL")),
    Index("subject_requests_unanswered", "kind", "due_at", postgresql_where=text("state IN (1, 2)")),
)

policy_changes = change_table(metadata, "policy_changes")
outbox = outbox_table(metadata)
audit_position = position_table(metadata)

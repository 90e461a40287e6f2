"""The tables. migrations/versions says the same as DDL; a test compares the two."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.change_feed import change_table
from shared.outbox import outbox_table, position_table

metadata = MetaData()
rule_changes = change_table(metadata, "rule_changes")
outbox = outbox_table(metadata)
audit_position = position_table(metadata)


def _instant(name: str, *, required: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=not required)


def _text(name: str, *, empty: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=False, server_default="" if empty else None)


def _count(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _flag(name: str) -> Column[Any]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _destruction() -> list[Column[Any]]:
    """What access control said of a destruction."""
    return [
        _instant("marked_at"),
        _instant("destroyed_at"),
        _text("root_key_id", empty=True),
        _text("key_store_statement", empty=True),
    ]


signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    _instant("created_at", required=True),
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    _text("request_id"),
    Column("content_sha256", LargeBinary, nullable=False),
    _text("kind"),
    _text("organization_id"),
    _text("reference"),
    _text("state"),
    _text("placed_by"),
    _instant("placed_at", required=True),
    _instant("activated_at"),
    _text("confirmed_by", empty=True),
    _instant("lapses_at"),
    _instant("review_at", required=True),
    _instant("ended_at"),
    _count("removed"),
    _text("destruction_id", empty=True),
    *_destruction(),
    # Of a hold on all that matches: what it is on, and how far its looks through the records are. end_user: NULL once it is over.
    _flag("has_scope"),
    Column("first_day", Date),
    Column("last_day", Date),
    Column("end_user", Text),
    _instant("swept_at"),
    _instant("sweep_began_at"),
    Column("sweep_after", LargeBinary),
    Column("gone_through", Date),
    _count("records_kept"),
    _count("records_lost"),
    # Whether the customer must not know of it (secrecy.py): '', 'SECRET' or 'ENDING'; why not, and when somebody looks at that again.
    _text("secrecy", empty=True),
    _text("legal_basis", empty=True),
    _instant("secrecy_review_at"),
    _instant("disclosed_at"),
    # Of one that was told of: whether what it kept is counted beside what an erasure removed. NULL: judged by the instants.
    Column("is_counted", Boolean),
    # Whoever waited longest is tried next, so that one hold that cannot go on holds up no other.
    _instant("tried_at", required=True),
    UniqueConstraint("placed_by", "request_id", name="holds_by_request"),
    Index("holds_in_secret", "tried_at", postgresql_where=text("secrecy <> ''")),
    Index("holds_by_organization", "organization_id", "number"),
    Index("holds_unfinished", "tried_at", postgresql_where=text("state IN ('PENDING', 'RELEASING')")),
    Index(
        "holds_with_scope", "number", postgresql_where=text("has_scope AND state IN ('PENDING', 'ACTIVE')")
    ),
    Index("holds_to_end", "state", "review_at", postgresql_where=text("state IN ('PENDING', 'ACTIVE')")),
)

hold_records = Table(
    "hold_records",
    metadata,
    Column("hold_id", Text, ForeignKey("holds.hold_id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("record_id", LargeBinary, nullable=False),
    Column("day", Date, nullable=False),
    _flag("lost"),
    Index("hold_records_by_record", "hold_id", "record_id", unique=True),
)

contract_terms = Table(
    "contract_terms",
    metadata,
    Column("term_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    _text("request_id"),
    Column("content_sha256", LargeBinary, nullable=False),
    _text("organization_id"),
    _text("kind"),
    Column("days", Integer, nullable=False),
    _text("reference"),
    Column("from_day", Date),
    Column("until_day", Date),
    _text("state"),
    _text("proposed_by"),
    _instant("proposed_at", required=True),
    _text("confirmed_by", empty=True),
    _instant("effective_at"),
    _text("end_proposed_by", empty=True),
    _instant("end_proposed_at"),
    _text("end_confirmed_by", empty=True),
    _text("end_reason", empty=True),
    _instant("ended_at"),
    Column("effect", JSONB, nullable=False),
    # Whose records alone it is about; '' for all of the organization's.
    _text("application", empty=True),
    UniqueConstraint("proposed_by", "request_id", name="contract_terms_by_request"),
    Index("contract_terms_by_organization", "organization_id", "number"),
    # One proposal at a time: what a second person confirms is what was proposed last.
    Index(
        "contract_terms_one_proposal",
        "organization_id",
        unique=True,
        postgresql_where=text("state = 'PROPOSED'"),
    ),
    Index("contract_terms_open", "number", postgresql_where=text("state NOT IN ('ENDED', 'WITHDRAWN')")),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    _text("state"),
    Column("through_day", Date, nullable=False),
    _instant("started_at", required=True),
    _text("started_by"),
    _instant("ended_at"),
    # The rule as it was in force when the run began.
    _text("term_kind"),
    Column("term_days", Integer, nullable=False),
    Column("run_window_seconds", Integer, nullable=False),
    Column("rule_version", BigInteger, nullable=False),
    _instant("rule_effective_at", required=True),
    _count("epochs_destroyed"),
    _count("records_removed"),
    _count("records_held"),
    _count("certificates"),
    _count("late_seconds"),
    *_destruction(),
    _flag("days_listed"),
    _text("days_token", empty=True),
    _flag("is_checked"),
    # The run that certified what a run that was not certified had destroyed.
    Column("certified_by", Text, nullable=True),
    # One at a time, whatever the number of replicas.
    Index(
        "runs_one_at_a_time",
        text("(true)"),
        unique=True,
        postgresql_where=text("state NOT IN ('DONE', 'NOT_CERTIFIED')"),
    ),
)

# Runs whose destructions a run certifies: its own, and those before it that did not certify.
run_sources = Table(
    "run_sources",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("source_run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    _text("epochs_token", empty=True),
    _flag("epochs_listed"),
)

run_days = Table(
    "run_days",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("day", Date, primary_key=True),
    _instant("dropped_at"),
    _flag("is_refused"),
    _count("dropped"),
    _count("held"),
    _text("counts_token", empty=True),
    _flag("counts_listed"),
)

# What an act (run or erasure) destroyed and removed, by lot (shared.terms) and day: what its certificates say.
act_epochs = Table(
    "act_epochs",
    metadata,
    Column("act_id", Text, primary_key=True),
    Column("organization_id", Text, primary_key=True),
    Column("epoch_key_id", Text, primary_key=True),
    Column("day", Date, nullable=False),
    _text("destruction_id"),
    _text("application", empty=True),
)

act_counts = Table(
    "act_counts",
    metadata,
    Column("act_id", Text, primary_key=True),
    Column("organization_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    _count("removed"),
    _count("held"),
    # Of both, rows with content: their day's key has to be destroyed before this is certified.
    _count("with_content"),
    Column("application", Text, primary_key=True, server_default=""),
)

erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False, unique=True),
    _text("account_deletion_id"),
    _text("confirmed_by"),
    Column("claim_sha256", LargeBinary, nullable=False, unique=True),
    _text("state"),
    _instant("started_at", required=True),
    _instant("closes_at"),
    # By logging's clock, where its fence was raised before keys went: for holds on all that matches.
    _instant("fenced_at"),
    _instant("ended_at"),
    _count("epochs_destroyed"),
    *_destruction(),
    # Something was still kept when the first certificate was signed; another follows when that is gone.
    _flag("is_kept"),
    _flag("is_complete"),
    _instant("tried_at", required=True),
    Index("erasures_unfinished", "tried_at", postgresql_where=text("NOT is_complete")),
)

erasure_receipts = Table(
    "erasure_receipts",
    metadata,
    Column("erasure_id", Text, ForeignKey("erasures.erasure_id"), primary_key=True),
    Column("service", Text, primary_key=True),
    _instant("erased_at", required=True),
    Column("removed", JSONB, nullable=False),
    _count("kept"),
)

# Erasures of single end users. end_user: NULL from when logging has erased; salt and commitment stay (docs/certificates.md).
subject_erasures = Table(
    "subject_erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    _text("organization_id"),
    _text("requested_by"),
    Column("end_user", Text, nullable=True),
    Column("salt", LargeBinary, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    _text("state"),
    _instant("started_at", required=True),
    _instant("fenced_at"),
    _instant("ended_at"),
    # How far the other services have been told which records are gone, and of how many, from the beginning of this pass.
    _text("told_token", empty=True),
    _count("told"),
    _flag("is_kept"),
    _flag("is_complete"),
    _instant("tried_at", required=True),
    Index("subject_erasures_unfinished", "tried_at", postgresql_where=text("NOT is_complete")),
)

subject_receipts = Table(
    "subject_receipts",
    metadata,
    Column("erasure_id", Text, ForeignKey("subject_erasures.erasure_id"), primary_key=True),
    Column("service", Text, primary_key=True),
    _instant("erased_at", required=True),
    Column("removed", JSONB, nullable=False),
    _count("kept"),
)

# Holds that keep records of the end user, or did.
subject_holds = Table(
    "subject_holds",
    metadata,
    Column("erasure_id", Text, ForeignKey("subject_erasures.erasure_id"), primary_key=True),
    Column("hold_id", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
)

# Erasures of what was logged before zero data retention. logged: logging's receipt (erased_at, removed, kept), once it has erased.
content_erasures = Table(
    "content_erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    _text("organization_id"),
    _text("requested_by"),
    _instant("before", required=True),
    _text("state"),
    _instant("started_at", required=True),
    _instant("fenced_at"),
    _instant("ended_at"),
    _count("epochs_destroyed"),
    *_destruction(),
    Column("logged", JSONB, nullable=True),
    _flag("is_kept"),
    _flag("is_complete"),
    _instant("tried_at", required=True),
    Index("content_erasures_unfinished", "tried_at", postgresql_where=text("NOT is_complete")),
    Index("content_erasures_by_organization", "organization_id"),
)

# Holds that keep some of that content, or did.
content_holds = Table(
    "content_holds",
    metadata,
    Column("erasure_id", Text, ForeignKey("content_erasures.erasure_id"), primary_key=True),
    Column("hold_id", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    Column("certificate_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    _text("organization_id"),
    _text("act_id"),
    _flag("is_further"),
    _instant("signed_at", required=True),
    # The exact bytes that are signed.
    Column("body", LargeBinary, nullable=False),
    Column("key_id", Text, ForeignKey("signing_keys.key_id"), nullable=False),
    Column("signature", LargeBinary, nullable=False),
    _text("entry_id"),
    # With the audit entry's proof; until then nobody is shown the certificate.
    Column("envelope", LargeBinary, nullable=True),
    _instant("tried_at", required=True),
    UniqueConstraint("act_id", "organization_id", "is_further", name="certificates_by_act"),
    Index("certificates_by_organization", "organization_id", "number"),
    Index("certificates_unfinished", "tried_at", postgresql_where=text("envelope IS NULL")),
)

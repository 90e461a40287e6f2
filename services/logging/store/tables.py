"""The tables of logging. Content appears in them sealed only; no table holds a key that opens it."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.logging.store.figures import figure_columns
from shared.outbox import outbox_table, position_table

metadata = MetaData()
_TIME: Final = DateTime(timezone=True)

# The columns of a record, the same in `interactions` and `retained`, in the order in which they are copied.
RECORD_COLUMNS: Final = (
    "organization_id",
    "record_id",
    "received_at",
    "gateway",
    "application",
    "model",
    "end_user",
    "prompt_tokens",
    "generation_tokens",
    "finish_reason",
    "latency_us",
    "data_key_id",
    "content",
    "api_key_kind",
    "by_application",
    "api_key_id",
    "country",
)
# Their PostgreSQL types, which a binary COPY must be told.
RECORD_TYPES: Final = (
    "text",
    "uuid",
    "timestamptz",
    "text",
    "text",
    "text",
    "text",
    "int4",
    "int4",
    "text",
    "int8",
    "uuid",
    "bytea",
    "int2",
    "bool",
    "text",
    "text",
)


def _record_columns() -> list[Column[Any]]:
    return [
        Column("organization_id", Text, nullable=False),
        Column("record_id", Uuid, nullable=False),
        Column("received_at", _TIME, nullable=False),
        Column("gateway", Text, nullable=False),
        Column("application", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("end_user", Text, nullable=False),
        Column("prompt_tokens", Integer, nullable=False),
        Column("generation_tokens", Integer, nullable=False),
        Column("finish_reason", Text, nullable=False),
        Column("latency_us", BigInteger),
        Column("data_key_id", Uuid),
        Column("content", LargeBinary),
        # kept.safety_review.v1.Verdict, and the version of the rules, of what screening flagged. What is NULL and waits no more in
        # `unscreened` was found clean, under which rules safety review knows; on each row it would double what recording writes.
        Column("verdict", SmallInteger),
        Column("rules_version", Text),
        # kept.logging.v1.ApiKeyKind. NULL where it was recorded before kinds were told apart, or by a process that does not tell them
        # apart yet: a key of production. Without a default, so that such a process can still copy rows in.
        Column("api_key_kind", SmallInteger),
        # Whether it is sealed to its application's own keys, and lives by that one's term (lots.py). NULL for all others.
        Column("by_application", Boolean),
        # Which key ("apikey_…"), and from where (ISO 3166-1 alpha-2). NULL where the gateway did not say.
        Column("api_key_id", Text),
        Column("country", Text),
    ]


# One partition a UTC day of the record's id, made ahead (partitions.py). There is no default partition: what has no place is refused.
interactions = Table(
    "interactions",
    metadata,
    *_record_columns(),
    PrimaryKeyConstraint("organization_id", "record_id", name="interactions_pkey"),
    CheckConstraint("(data_key_id IS NULL) = (content IS NULL)", name="interactions_sealed"),
    postgresql_partition_by="RANGE (record_id)",
)

# Data keys, sealed to an epoch's public key.
data_keys = Table(
    "data_keys",
    metadata,
    Column("data_key_id", Uuid, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    # To whose own epoch; '' for all others.
    Column("application", Text, nullable=False, server_default=""),
    Index("data_keys_by_organization", "organization_id", "day"),
    Index("data_keys_by_day", "day"),
)

# Copies of the rows that holds keep, and rows that a longer contract term keeps (by_term), each with its sealed data key, so that they
# outlive their partition.
retained = Table(
    "retained",
    metadata,
    *_record_columns(),
    Column("day", Date, nullable=False),
    Column("sealed_data_key", LargeBinary),
    Column("by_term", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("organization_id", "record_id", name="retained_pkey"),
    CheckConstraint("(data_key_id IS NULL) = (content IS NULL)", name="retained_sealed"),
    Index("retained_by_day", "day", "organization_id"),
)

# Which hold keeps which row of `retained`.
holds = Table(
    "holds",
    metadata,
    Column("hold_id", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("record_id", Uuid, nullable=False),
    # kept.retention.v1.HoldKind; NULL where retention did not say.
    Column("kind", SmallInteger),
    PrimaryKeyConstraint("hold_id", "organization_id", "record_id", name="holds_pkey"),
    Index("holds_by_record", "organization_id", "record_id"),
)

# Holds on all records that match, also on those that come later: ids of [low, high), of one end user or of everybody (""). In clear, for
# erasures must find it; gone when the hold is let go.
standing_holds = Table(
    "standing_holds",
    metadata,
    Column("hold_id", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("low", Uuid, nullable=False),
    Column("high", Uuid, nullable=False),
    Column("end_user", Text, nullable=False),
    Column("kind", SmallInteger),
    # Whether the law forbids telling the customer of it.
    Column("confidential", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("hold_id", "organization_id", name="standing_holds_pkey"),
    Index("standing_holds_by_organization", "organization_id"),
)

# Copies of rows that holds keep of which the law forbids telling the customer; confidential.py alone looks there.
confidential_rows = Table(
    "confidential_rows",
    metadata,
    Column("hold_id", Text, nullable=False),
    *_record_columns(),
    Column("day", Date, nullable=False),
    Column("sealed_data_key", LargeBinary),
    PrimaryKeyConstraint("hold_id", "organization_id", "record_id", name="confidential_rows_pkey"),
    Index("confidential_rows_by_record", "organization_id", "record_id"),
)

# Confidential holds whose secrecy has ended: nothing is kept apart for them again.
disclosed_holds = Table("disclosed_holds", metadata, Column("hold_id", Text, primary_key=True))

# Tombstones of holds that were let go: nothing is kept for them again. removed: rows that were gone by it.
released_holds = Table(
    "released_holds",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("removed", BigInteger, nullable=False, server_default="0"),
)

# Fences: nothing is written behind them, ever again. They stay when what they fenced off is gone.
organization_fences = Table(
    "organization_fences",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("closed_at", _TIME, nullable=False),
)
day_fences = Table(
    "day_fences",
    metadata,
    Column("day", Date, primary_key=True),
    Column("closed_at", _TIME, nullable=False),
)

# Rows in partitions, or kept longer by a term, counted as they are stored; each process adds to its own row, so that none waits for
# another.
stored_counts = Table(
    "stored_counts",
    metadata,
    Column("day", Date, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("writer", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("records_with_content", BigInteger, nullable=False),
    # Of which lot they are; it is told in the writer's name too (lots.writer_of).
    Column("application", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("day", "organization_id", "writer", name="stored_counts_pkey"),
    Index("stored_counts_by_organization", "organization_id"),
)

# What was dropped with a day, as a whole and by organization: with its partition, before it by a shorter term, or after it by a longer one.
dropped_days = Table(
    "dropped_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("dropped_at", _TIME, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
)
dropped_counts = Table(
    "dropped_counts",
    metadata,
    Column("day", Date, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("records_with_content", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    # NULL where a version wrote it that dropped whole days only.
    Column("run_id", Text),
    Column("application", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("day", "organization_id", "application", name="dropped_counts_pkey"),
    Index("dropped_counts_by_organization", "organization_id"),
)
# What a run took away of a day: the answer to a repeated call.
removals = Table(
    "removals",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("dropped", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("removed_at", _TIME, nullable=False),
    PrimaryKeyConstraint("run_id", "day", name="removals_pkey"),
)

# What erasures removed; `removed` maps a kind of row to a number.
erasure_receipts = Table(
    "erasure_receipts",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("erasure_id", Text, nullable=False),
    Column("erased_at", _TIME, nullable=False),
    Column("removed", JSONB, nullable=False),
    PrimaryKeyConstraint("organization_id", "erasure_id", name="erasure_receipts_pkey"),
)

# What an erasure that is on its way has taken away and nothing else counts; gone with its receipt.
erasure_progress = Table(
    "erasure_progress",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("erasure_id", Text, nullable=False),
    Column("unscreened", BigInteger, nullable=False),
    PrimaryKeyConstraint("organization_id", "erasure_id", name="erasure_progress_pkey"),
)

# Erasures of single end users, without naming them. below: of the ids that are older than the fence, the bound. stage: see store.subjects.
# after: how far it has looked in that stage. interactions, unscreened: rows removed so far; the acts stay for ever.
subject_erasures = Table(
    "subject_erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("fenced_at", _TIME, nullable=False),
    Column("below", Uuid, nullable=False),
    Column("stage", Text, nullable=False),
    Column("after", Uuid),
    Column("interactions", BigInteger, nullable=False, server_default="0"),
    Column("unscreened", BigInteger, nullable=False, server_default="0"),
    Column("erased_at", _TIME),
)
# Whose records with an id below the bound are not written any more. In clear, for writers must find it, and so only as long as a record
# can come that it has to stop: a day.
subject_fences = Table(
    "subject_fences",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("end_user", Text, nullable=False),
    Column("below", Uuid, nullable=False),
    Column("fenced_at", _TIME, nullable=False),
    Column("erasure_id", Text, nullable=False),
    PrimaryKeyConstraint("organization_id", "end_user", name="subject_fences_pkey"),
    Index("subject_fences_by_bound", "organization_id", "below"),
)
# The records of such an erasure, removed or held, until every service has been told.
subject_records = Table(
    "subject_records",
    metadata,
    Column("erasure_id", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("record_id", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("has_content", Boolean, nullable=False),
    PrimaryKeyConstraint("erasure_id", "record_id", name="subject_records_pkey"),
    Index("subject_records_by_record", "organization_id", "record_id"),
)

# Erasures of content that was logged before zero data retention. below: no content of a record with a lower id is written any more; that
# stays true, and the row names nobody, so it stays. after: how far it has looked. contents, data_keys, unscreened: removed so far.
content_erasures = Table(
    "content_erasures",
    metadata,
    Column("erasure_id", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("before", _TIME, nullable=False),
    Column("below", Uuid, nullable=False),
    Column("fenced_at", _TIME, nullable=False),
    Column("after", Uuid),
    Column("contents", BigInteger, nullable=False, server_default="0"),
    Column("data_keys", BigInteger, nullable=False, server_default="0"),
    Column("unscreened", BigInteger, nullable=False, server_default="0"),
    Column("erased_at", _TIME),
    PrimaryKeyConstraint("erasure_id", name="content_erasures_pkey"),
    Index("content_erasures_by_bound", "organization_id", "below"),
)

# Stored records with content on which screening has not spoken. given_up: opening it was refused or its screening stayed incomplete;
# a person has to look. claimed_until: a process is at it.
unscreened = Table(
    "unscreened",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("record_id", Uuid, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("claimed_until", _TIME),
    Column("given_up", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("organization_id", "record_id", name="unscreened_pkey"),
    Index("unscreened_by_age", "given_up", "received_at"),
)
# Those of them that came together, of one organization, as long as the process that took them may have them screened: one row for all, for
# a row each costs a fifth of what it costs to store the records. first_record_id: the lowest. record_ids: 16 bytes each, ascending.
unscreened_batches = Table(
    "unscreened_batches",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("first_record_id", Uuid, nullable=False),
    Column("received_at", _TIME, nullable=False),
    Column("record_ids", LargeBinary, nullable=False),
    PrimaryKeyConstraint("organization_id", "first_record_id", name="unscreened_batches_pkey"),
    Index("unscreened_batches_by_age", "received_at"),
    # As of usage_arrivals.
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
)

# From when on small contents are compressed with a dictionary (services/logging/dictionaries). number: of RFC 8878.
content_dictionaries = Table(
    "content_dictionaries",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("usable_from", _TIME, nullable=False),
)

# --- usage: two stores that nothing joins; see services/logging/usage/. A column that both had, beside hour, model and figures, would be a
# --- key between them: each process writes under one name here and under another there.

# What was used, as it is stored: a batch's figures (usage.fields.FIGURES), by place, until a second or so later they are folded into both
# stores. Rows are only appended and removed. hour: since 1970. arrival_id: random; it tells one from another, and nothing else.
usage_arrivals = Table(
    "usage_arrivals",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("arrival_id", Uuid, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("application", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("figures", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("organization_id", "arrival_id", name="usage_arrivals_pkey"),
    # Nearly all rows are gone nearly always: their space is to be had again soon.
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000},
)

# Usage for billing; each process adds to rows of its own, so that none waits for another.
billing_usage = Table(
    "billing_usage",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("hour", _TIME, nullable=False),
    Column("application", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("writer", Text, nullable=False),
    *figure_columns(),
    PrimaryKeyConstraint(
        "organization_id", "hour", "application", "model", "writer", name="billing_usage_pkey"
    ),
    postgresql_with={"fillfactor": 50},  # rows are updated in their page, over and over
)

# Reports of deployments that send counts only, so that each counts once.
usage_reports = Table(
    "usage_reports",
    metadata,
    Column("organization_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("reported_at", _TIME, nullable=False),
    PrimaryKeyConstraint("organization_id", "request_id", name="usage_reports_pkey"),
    Index("usage_reports_by_age", "reported_at"),
)

# The keys of pseudonyms, a UTC day each; gone once the day is over. Unlogged: they are in no WAL and in no backup.
analytics_keys = Table(
    "analytics_keys",
    metadata,
    Column("day", Date, primary_key=True),
    Column("key_id", Uuid, nullable=False),
    Column("key", LargeBinary, nullable=False),
    prefixes=["UNLOGGED"],
)

# Usage for product analytics, by pseudonym, of days that are not over. Applications are not in it: customers name them after themselves.
analytics_usage = Table(
    "analytics_usage",
    metadata,
    Column("hour", _TIME, nullable=False),
    Column("model", Text, nullable=False),
    Column("key_id", Uuid, nullable=False),
    Column("pseudonym", Uuid, nullable=False),
    Column("writer", Text, nullable=False),
    *figure_columns(),
    PrimaryKeyConstraint("hour", "model", "key_id", "pseudonym", "writer", name="analytics_usage_pkey"),
    Index("analytics_usage_by_pseudonym", "pseudonym"),
    postgresql_with={"fillfactor": 50},
)

# What is left of a day that is over: hours and models over groups of organizations.
analytics_cells = Table(
    "analytics_cells",
    metadata,
    Column("hour", _TIME, nullable=False),
    Column("model", Text, nullable=False),
    Column("organizations", BigInteger, nullable=False),
    *figure_columns(),
    PrimaryKeyConstraint("hour", "model", name="analytics_cells_pkey"),
)

outbox = outbox_table(metadata)
audit_position = position_table(metadata)

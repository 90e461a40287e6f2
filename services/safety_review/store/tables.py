"""The tables. `migrations/versions` writes the same out as DDL, and a test compares the two."""

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
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.outbox import outbox_table, position_table

metadata = MetaData()
_Instant = DateTime(timezone=True)

# Of what is clean nothing but this is kept, and only until it cannot be screened again.
verdicts = Table(
    "verdicts",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("rules_version", Text, primary_key=True),
    Column("verdict", SmallInteger, nullable=False),
    Index("verdicts_by_record", "record_id", postgresql_where=text("verdict <> 2")),
)

# The rules that every process of the service screens by, or will as soon as it has their file: one row.
rules_in_force = Table(
    "rules_in_force",
    metadata,
    Column("only_row", Boolean, primary_key=True),
    Column("version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("since", _Instant, nullable=False),
)

# What is stored is screened again, under a grant each.
rescreenings = Table(
    "rescreenings",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    Column("grant_id", Text, nullable=False, unique=True),
    Column("organization_id", Text, nullable=False),
    Column("created_from", _Instant, nullable=False),
    Column("created_until", _Instant, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("started_at", _Instant, nullable=False),
    Column("after", LargeBinary, nullable=False),
    Column("screened", BigInteger, nullable=False),
    Column("left_out", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("problem", Text, nullable=False),
    Column("taken_until", _Instant),
)

# By which detector a record was not screened, and why; until it is, or nobody can screen the record again.
not_screened = Table(
    "not_screened",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("rules_version", Text, primary_key=True),
    Column("detector", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Index("not_screened_by_record", "record_id"),
)

cases = Table(
    "cases",
    metadata,
    Column("case_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("opened_at", _Instant, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("claimed_by", Text, nullable=False),
    Column("claimed_until", _Instant),
    Column("decision", SmallInteger, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decision_reason", Text, nullable=False),
    Column("confirmed_by", Text, nullable=False),
    Column("closed_at", _Instant),
    Column("flag_count", Integer, nullable=False),
    Column("is_full", Boolean, nullable=False),
    Column("due_at", _Instant),
    Column("begun_at", _Instant),
    Column("turn", Integer, nullable=False, server_default="1"),
    Column("round", SmallInteger, nullable=False, server_default="1"),
    Column("opened_by", Text, nullable=False, server_default=""),
    Column("referred", Boolean, nullable=False, server_default=text("false")),
    Column("note", Text, nullable=False, server_default=""),
    Column("earlier_reviewers", ARRAY(Text), nullable=False, server_default="{}"),
    Column("appealed_at", _Instant),
    Column("appealed_by", Text, nullable=False, server_default=""),
    Column("appeal_reason", Text, nullable=False, server_default=""),
    Column("told_at", _Instant),
    # [window in seconds, flags, whether of one end user].
    Column("rates", JSONB, nullable=False, server_default="[]"),
    # Whose decision was sent back in this round, and who sent it back.
    Column("took_part", ARRAY(Text), nullable=False, server_default="{}"),
    # One case at a time for an organization and a category: the next flag joins it.
    Index(
        "cases_joinable",
        "organization_id",
        "category",
        unique=True,
        postgresql_where=text("state <= 3 AND NOT is_full"),
    ),
    Index("cases_by_organization", "organization_id"),
    Index("cases_by_severity", text("severity DESC"), "opened_at", "case_id"),
)

flags = Table(
    "flags",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("rules_version", Text, primary_key=True),
    Column("case_id", Text, ForeignKey("cases.case_id"), nullable=False),
    Column("rule_ids", ARRAY(Text), nullable=False),
    # [rule id, part, offset, part, offset] for each place, in code points: where, never what.
    Column("places", JSONB, nullable=False),
    Column("flagged_at", _Instant, nullable=False),
    Column("hold_request_id", Text, nullable=False),
    Column("hold_ends_at", _Instant, nullable=False),
    # 16 bytes of SHA-256 of the organization and the end user's pseudonym; empty where there is none.
    Column("end_user_hash", LargeBinary, nullable=False, server_default=text("''::bytea")),
    # What a rule over log data found, that the record was counted for.
    Column("finding_id", Text),
    Index("flags_by_case", "case_id", "flagged_at", "record_id"),
    Index("flags_by_organization", "organization_id", "flagged_at"),
    Index(
        "flags_by_end_user",
        "organization_id",
        "end_user_hash",
        "flagged_at",
        postgresql_where=text("finding_id IS NULL"),
    ),
)

# How far each rule over log data is: windows that began before were looked at, and looked at for the last time.
log_rule_progress = Table(
    "log_rule_progress",
    metadata,
    Column("rule_id", Text, primary_key=True),
    Column("looked_until", _Instant, nullable=False),
    Column("settled_until", _Instant, nullable=False),
    Column("taken_until", _Instant),
)

# What they found. The id is derived from rule, version, window, organization and whom it is about, so that there is one of each.
log_findings = Table(
    "log_findings",
    metadata,
    Column("finding_id", Text, primary_key=True),
    Column("rule_id", Text, nullable=False),
    Column("rules_version", Text, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("window_from", _Instant, nullable=False),
    Column("window_until", _Instant, nullable=False),
    Column("counted", BigInteger, nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("case_id", Text, ForeignKey("cases.case_id", ondelete="CASCADE"), nullable=False),
    Column("found_at", _Instant, nullable=False),
    Index("log_findings_by_case", "case_id", "found_at"),
)

# Every decision that closed a case, for reports; it outlives the case and says nothing of whose it was.
decisions = Table(
    "decisions",
    metadata,
    Column("case_id", Text, primary_key=True),
    Column("turn", Integer, primary_key=True),
    Column("category", Text, nullable=False),
    Column("round", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("overturns", Boolean, nullable=False),
    Column("begun_at", _Instant, nullable=False),
    Column("due_at", _Instant),
    Column("decided_at", _Instant, nullable=False),
    Index("decisions_by_time", "decided_at"),
)

# What people opened, by the id that makes it idempotent.
openings = Table(
    "openings",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("person_id", Text, nullable=False),
    Column("request_sha256", LargeBinary, nullable=False),
    Column("case_id", Text, ForeignKey("cases.case_id", ondelete="CASCADE"), nullable=False),
)

# Who took which case when: a reviewer's exposure.
claims = Table(
    "claims",
    metadata,
    Column("person_id", Text, primary_key=True),
    Column("case_id", Text, primary_key=True),
    Column("turn", Integer, primary_key=True),
    Column("claimed_at", _Instant, nullable=False),
    Index("claims_by_time", "claimed_at"),
)

# Records that screening is done with, by the day of their creation, as their verdicts are removed.
screened_days = Table(
    "screened_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("verdict", SmallInteger, primary_key=True),
    Column("records", BigInteger, nullable=False),
)

# What was counted of cases that are gone, by day: what is one of flagged, opened, reported, appealed, upheld and dismissed (the last two
# are records, by the rules that flagged them).
past_cases = Table(
    "past_cases",
    metadata,
    Column("day", Date, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("rules_version", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

evaluation_sets = Table(
    "evaluation_sets",
    metadata,
    Column("set_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("built_by", Text, nullable=False),
    Column("built_at", _Instant, nullable=False),
    Column("ends_at", _Instant, nullable=False),
    Column("ended_at", _Instant),
    Column("needed_organizations", Integer, nullable=False),
    # {category: items}; a withheld one has 0.
    Column("categories", JSONB, nullable=False),
    Column("removed", JSONB, nullable=False),
    Column("sealed_sha256", LargeBinary, nullable=False),
    UniqueConstraint("number", name="evaluation_sets_number"),
    UniqueConstraint("request_id", name="evaluation_sets_request"),
    Index("evaluation_sets_living", "ends_at", postgresql_where=text("ended_at IS NULL")),
)

# Sealed: category and texts, without whose. The order is drawn by lot.
evaluation_items = Table(
    "evaluation_items",
    metadata,
    Column("set_id", Text, ForeignKey("evaluation_sets.set_id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

erasures = Table(
    "erasures",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("erasure_id", Text, nullable=False),
    Column("erased_at", _Instant, nullable=False),
    Column("removed", JSONB, nullable=False),
    Column("kept", BigInteger, nullable=False),
)

# Records of erased end users, for as long as somebody could still hand them over to be screened.
erased_records = Table(
    "erased_records",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Index("erased_records_by_record", "record_id"),
)

# What was removed for an end user's erasure, without saying whose or which.
record_erasures = Table(
    "record_erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("erased_at", _Instant, nullable=False),
    Column("verdicts", BigInteger, nullable=False),
    Column("flags", BigInteger, nullable=False),
    Column("cases", BigInteger, nullable=False),
)

outbox = outbox_table(metadata)
audit_position = position_table(metadata)

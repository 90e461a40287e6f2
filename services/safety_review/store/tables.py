"""The tables. `migrations/versions` writes the same out as DDL, and a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
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
    Index("flags_by_case", "case_id", "flagged_at", "record_id"),
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

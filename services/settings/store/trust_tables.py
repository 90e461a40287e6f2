"""The tables of the trust service; those of the rest are in `tables.py`, in the same metadata."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from services.settings.store.tables import metadata

_Instant = DateTime(timezone=True)

trust_documents = Table(
    "trust_documents",
    metadata,
    Column("document_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("visibility", SmallInteger, nullable=False),
    Column("link", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("published_at", _Instant, nullable=False),
    Column("withdrawn_at", _Instant),
    UniqueConstraint("number", name="trust_documents_number"),
    UniqueConstraint("kind", "version", name="trust_documents_version"),
)

trust_requests = Table(
    "trust_requests",
    metadata,
    Column("trust_request_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("request_id", Text, nullable=False),
    # Of what was asked for, to tell a repetition from another request.
    Column("content_sha256", LargeBinary, nullable=False),
    Column("claim_sha256", LargeBinary, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("document_id", Text, ForeignKey("trust_documents.document_id")),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("company", Text, nullable=False),
    # Of a customer who was signed in. What was asked is forgotten after a time, but that an organization got an addendum.
    Column("organization_id", Text, ForeignKey("organizations.organization_id")),
    Column("state", SmallInteger, nullable=False),
    Column("requested_at", _Instant, nullable=False),
    Column("decided_at", _Instant),
    Column("decided_by", Text),
    Column("reason", Text, nullable=False),
    Column("link", Text, nullable=False),
    # The member that asked, whatever name and address it gave.
    Column("requested_by", Text),
    UniqueConstraint("number", name="trust_requests_number"),
    UniqueConstraint("request_id", name="trust_requests_request"),
    UniqueConstraint("claim_sha256", name="trust_requests_claim"),
    Index("trust_requests_waiting", "number", postgresql_where=text("state = 1")),
    Index(
        "trust_requests_by_organization",
        "organization_id",
        postgresql_where=text("organization_id IS NOT NULL"),
    ),
    Index("trust_requests_of_nobody", "requested_at", postgresql_where=text("organization_id IS NULL")),
)

# Whole lists, never changed but for when they count. told_number: the last organization that was told, by its number.
subprocessor_lists = Table(
    "subprocessor_lists",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("published_at", _Instant, nullable=False),
    Column("effective_at", _Instant, nullable=False),
    Column("announced_at", _Instant),
    Column("withdrawn_at", _Instant),
    Column("told_number", BigInteger, nullable=False),
    UniqueConstraint("request_id", name="subprocessor_lists_request"),
)

subprocessors = Table(
    "subprocessors",
    metadata,
    Column("version", BigInteger, ForeignKey("subprocessor_lists.version"), primary_key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("data", Text, nullable=False),
)

subprocessor_objections = Table(
    "subprocessor_objections",
    metadata,
    Column("organization_id", Text, ForeignKey("organizations.organization_id"), primary_key=True),
    Column("version", BigInteger, ForeignKey("subprocessor_lists.version"), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("objected_by", Text, nullable=False),
    Column("objected_at", _Instant, nullable=False),
)

# How much the public wrote lately, by the SHA-256 of a source or an address.
public_requests = Table(
    "public_requests",
    metadata,
    Column("subject_sha256", LargeBinary, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("began_at", _Instant, nullable=False),
    Index("public_requests_by_time", "began_at"),
)

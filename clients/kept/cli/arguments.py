"""What people type, as values: times, record ids, days, choices. Wrong ones are usage errors that say what is right."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NewType

import typer

from kept.client import record_ids

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

RecordId = NewType("RecordId", uuid.UUID)


def when(text: str) -> datetime:
    """An instant: a date, or a date and a time (ISO 8601); UTC where no zone is given."""
    try:
        instant = datetime.fromisoformat(text.strip())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # OverflowError: in UTC it is before year 1 or after 9999
        raise typer.BadParameter(
            f"{text!r} is no time: give one like 2026-01-31 or 2026-01-31T16:00:00Z (UTC without a zone)."
        ) from None


def record_id(text: str) -> uuid.UUID:
    """A record id: a UUID of version 7."""
    try:
        raw = record_ids.from_text(text)
        record_ids.created_at(raw)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no record id: give the UUID of the record, like 0198c5a0-1c2b-7d3e-8f40-5a6b7c8d9e0f."
        ) from None
    return uuid.UUID(bytes=raw)


def sha256(text: str) -> str:
    """A SHA-256 in hex, as sha256sum prints it."""
    try:
        if len(bytes.fromhex(text)) == 32:
            return text.lower()
    except ValueError:
        pass
    raise typer.BadParameter(f"{text!r} is no SHA-256: give 64 hex digits, or the document with --document.")


def check_text(text: str, what: str) -> None:
    """A usage error for bytes that are no UTF-8: Python lets them pass, and nothing that is sent can hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{what} is no UTF-8.") from None


def refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """A usage error for options that were given beside one with which they cannot be meant: to go by one of them would do something else
    than was asked for. others: by name, empty where not given."""
    given = [name for name, value in others.items() if value]
    if given:
        raise typer.BadParameter(f"{option} and {', '.join(given)} exclude each other: give what you mean.")


def stamp(instant: datetime | None) -> "Timestamp | None":
    """As protobuf has it; None stays None, which leaves a field unset."""
    if instant is None:
        return None
    from google.protobuf.timestamp_pb2 import Timestamp

    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


def raw_ids(ids: list[uuid.UUID] | None) -> list[bytes]:
    """Record ids as the wire has them, each once, in the order given."""
    return list(dict.fromkeys(given.bytes for given in ids or ()))


def enum_value(enum: Any, prefix: str, choice: StrEnum) -> Any:
    """The contract's value of a choice: ("POWER", "role-assignment") is POWER_ROLE_ASSIGNMENT."""
    return enum.Value(f"{prefix}_{choice.value.upper().replace('-', '_')}")


class Purpose(StrEnum):
    """What access is for."""

    ENGINEERING_SUPPORT = "engineering-support"
    LEGAL_COMPLIANCE = "legal-compliance"
    SAFETY_AND_SECURITY = "safety-and-security"
    CUSTOMER_EXPORT = "customer-export"


class Detail(StrEnum):
    """How much of a record is shown."""

    METADATA = "metadata"
    MASKED = "masked"
    FULL = "full"


class Power(StrEnum):
    """What a grant of power lets somebody do."""

    OPERATOR = "operator"
    LEGAL = "legal"
    ROLE_ASSIGNMENT = "role-assignment"


class GrantState(StrEnum):
    """Where a grant is."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    EXPIRED = "expired"


class StaffRole(StrEnum):
    """Roles of the workforce."""

    OPERATOR = "operator"
    ENGINEER = "engineer"
    SAFETY = "safety"
    LEGAL = "legal"
    COMPLIANCE = "compliance"
    AUDITOR = "auditor"
    ON_CALL = "on-call"


class AgreementKind(StrEnum):
    """What an agreement is about."""

    CONFIDENTIALITY = "confidentiality"
    SECURITY_CONTROLS = "security-controls"


class CustomerRole(StrEnum):
    """Roles within a customer."""

    MEMBER = "member"
    ADMIN = "admin"


class Tier(StrEnum):
    """Which terms an organization is under."""

    PAYING = "paying"
    TRIAL = "trial"


class Deployment(StrEnum):
    """Where an organization's models run."""

    SAAS = "saas"
    THIRD_PARTY_CLOUD = "third-party-cloud"
    PRIVATE = "private"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


class CaseState(StrEnum):
    """Where a case is."""

    OPEN = "open"
    CLAIMED = "claimed"
    DECIDED = "decided"
    UPHELD = "upheld"
    DISMISSED = "dismissed"


class Severity(StrEnum):
    """How bad it would be."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Finding(StrEnum):
    """What a reviewer finds."""

    VIOLATION = "violation"
    NO_VIOLATION = "no-violation"


class SubjectRequestKind(StrEnum):
    """What an end user asks for."""

    FIND = "find"
    EXPORT = "export"
    ERASE = "erase"


class SubjectRequestExtension(StrEnum):
    """Why a data subject's request takes longer than a month."""

    COMPLEX = "complex"
    MANY = "many"


class NotificationTopic(StrEnum):
    """What the vendor writes about."""

    SETTINGS = "settings"
    ACCESS = "access"
    SUBJECT_REQUESTS = "subject-requests"
    TRUST = "trust"
    SECURITY = "security"


# Options that several commands share.
Organization = Annotated[
    str, typer.Option("--organization", "-o", metavar="ORG", help="Organization id, org_….")
]
OwnOrganization = Annotated[
    str,
    typer.Option(
        "--organization", "-o", metavar="ORG", help="Organization id, org_…. A customer's own without it."
    ),
]
AnyOrganization = Annotated[
    str, typer.Option("--organization", "-o", metavar="ORG", help="Only of this organization, org_….")
]
Records = Annotated[
    list[uuid.UUID] | None,
    typer.Option(
        "--record", metavar="UUID", parser=record_id, help="This record alone; repeat it for several."
    ),
]
From = Annotated[
    datetime | None,
    typer.Option("--from", metavar="TIME", parser=when, help="Created from this time on, UTC."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=when, help="Created before this time, UTC."),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Show at most this many.")]
RequestId = Annotated[
    str,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Repeat an earlier attempt: what happened already is not done again. Chosen for you without it.",
    ),
]
Reason = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in one line.")]

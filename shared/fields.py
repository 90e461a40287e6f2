"""Fields of requests that the contracts' rules cannot fully check: instants, spans and days."""

from datetime import UTC, date, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import invalid


def instant(field: str, value: Timestamp) -> datetime:
    """The instant, in UTC, to the microsecond. Raises INVALID_ARGUMENT for what no calendar holds."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(field, "is no instant between the years 1 and 9999") from error


def span(field: str, value: Duration) -> timedelta:
    """The span, to the microsecond. Raises INVALID_ARGUMENT."""
    try:
        return value.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise invalid(field, "is no valid duration") from error


def day(field: str, text: str) -> date:
    """The day, YYYY-MM-DD. Raises INVALID_ARGUMENT: 2026-02-30 has the form of one."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid(field, "is no day of the calendar") from None

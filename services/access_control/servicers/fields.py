"""Fields of messages that the contracts' rules cannot fully check: instants and spans."""

from datetime import UTC, datetime, timedelta

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

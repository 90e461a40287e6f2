"""Instants of requests."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import invalid


def instant(timestamp: Timestamp, name: str) -> datetime:
    """What a request names. Raises INVALID_ARGUMENT for what is none (google.protobuf.Timestamp: years 1 to 9999)."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise invalid(name, "is not a time") from None

"""Instants as the contract has them."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import invalid


def timestamp(instant: datetime | None) -> Timestamp | None:
    """The same instant; None leaves a field unset."""
    if instant is None:
        return None
    made = Timestamp()
    made.FromDatetime(instant)
    return made


def instant(field: str, value: Timestamp) -> datetime:
    """What a request names. Raises INVALID_ARGUMENT for what is none (google.protobuf.Timestamp: years 1 to 9999)."""
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(field, "is no instant") from error

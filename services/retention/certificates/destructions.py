"""What access control says of a destruction of keys, and what a certificate says of it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import keys_pb2


@dataclass(frozen=True)
class Destruction:
    """A destruction, complete or not begun. marked_at: when its keys stopped opening anything; destroyed_at: when the root that
    wrapped them was gone, and every copy with it; None where nothing had to be destroyed."""

    destruction_id: str
    marked_at: datetime | None = None
    destroyed_at: datetime | None = None
    root_key_id: str = ""
    key_store_statement: str = ""


def instant(message: Timestamp, *, is_set: bool) -> datetime | None:
    """An instant of a message, if it is there."""
    return message.ToDatetime(tzinfo=UTC) if is_set else None


def from_message(destruction_id: str, message: keys_pb2.Destruction) -> Destruction | None:
    """The destruction, once it is done; None while it is not."""
    if message.state != keys_pb2.DESTRUCTION_STATE_DONE:
        return None
    return Destruction(
        destruction_id,
        instant(message.marked_at, is_set=message.HasField("marked_at")),
        instant(message.destroyed_at, is_set=message.HasField("destroyed_at")),
        message.root_key_id,
        message.key_store_statement,
    )

"""Instants as the contract has them."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: datetime | None) -> Timestamp | None:
    """The same instant; None leaves a field unset."""
    if instant is None:
        return None
    made = Timestamp()
    made.FromDatetime(instant)
    return made

"""Receipts: one for each record of a batch, in their order.

They are put together as they lie in an answer (protobuf's encoding: the items of a repeated field follow each other), around each record's
id: of a thousand receipts nearly all differ in that alone, and to make a message of each takes four times as long.
"""

from datetime import datetime
from typing import Final

from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2
from services.logging.records import RECORD_ID_BYTES
from shared.errors import Reason

# A record that was refused for one of these may be sent again later, as it is.
_RETRYABLE: Final = frozenset((Reason.REASON_PEER_UNAVAILABLE, Reason.REASON_OVERLOADED))
# What stands for an id in a receipt that is taken apart; the id comes first in it.
_ANY_ID: Final = b"\xff" * RECORD_ID_BYTES

# What comes before a record's id in its receipt, and behind it.
Around = tuple[bytes, bytes]


def around(outcome: "ingest_pb2.Outcome.ValueType", due_at: datetime) -> Around:
    """Of receipts that say this outcome and this day of deletion."""
    receipt = ingest_pb2.Receipt(record_id=_ANY_ID, outcome=outcome)
    receipt.due_at.FromDatetime(due_at)
    before, _, behind = _as_item(receipt).partition(_ANY_ID)
    return before, behind


def refused(record_id: bytes, reason: "reasons_pb2.Reason.ValueType") -> bytes:
    """The receipt of a record that is not stored."""
    return _as_item(
        ingest_pb2.Receipt(
            # What is no record id is not sent back: it may be anything of any size.
            record_id=record_id if len(record_id) == RECORD_ID_BYTES else b"",
            outcome=ingest_pb2.OUTCOME_REFUSED,
            reason=reason,
            retryable=reason in _RETRYABLE,
        )
    )


def answer(parts: list[bytes]) -> ingest_pb2.RecordInteractionsResponse:
    """The answer that these are, one after the other."""
    return ingest_pb2.RecordInteractionsResponse.FromString(b"".join(parts))


def _as_item(receipt: ingest_pb2.Receipt) -> bytes:
    return ingest_pb2.RecordInteractionsResponse(receipts=[receipt]).SerializeToString()

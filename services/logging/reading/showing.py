"""What a reader sees of a record at each level of detail: the least that does the job."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from google.protobuf.message import DecodeError

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import interactions_pb2, read_pb2
from services.logging.records import StoredRow
from services.logging.sealing import Unsealable, open_content
from shared.masking import mask, mask_parts

_LONGEST_NAME: Final = 100
# Content as it was recorded fits into an answer (MAX_MESSAGE_BYTES); masked it may be larger, for a note stands for each part that is no
# text.
_LARGEST_SHOWN: Final = 7 * 1024 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def show_log_data(record: read_pb2.InteractionRecord, row: StoredRow) -> None:
    """Writes everything but the content into an empty record."""
    record.record_id = row.record_id
    record.organization_id = row.organization_id
    record.application = row.application
    record.model = row.model
    record.end_user = row.end_user
    record.prompt_tokens = row.prompt_tokens
    record.generation_tokens = row.generation_tokens
    record.finish_reason = row.finish_reason
    record.has_content = row.has_content
    record.content_size = row.content_size
    record.api_key_kind = row.api_key_kind  # type: ignore[assignment] # what the contract's type is made of
    record.api_key_id = row.api_key_id
    record.country = row.country
    # By hand, for there may be thousands a second: protobuf's own way takes as long as all of the above.
    created, created_at = int.from_bytes(row.record_id[:6]), record.created_at
    created_at.seconds, created_at.nanos = created // 1000, created % 1000 * 1_000_000
    received, received_at = row.received_at - _EPOCH, record.received_at
    received_at.seconds, received_at.nanos = (
        received.days * 86_400 + received.seconds,
        received.microseconds * 1000,
    )
    if row.latency_us is not None:
        record.latency.FromMicroseconds(row.latency_us)


def show(
    record: read_pb2.InteractionRecord,
    row: StoredRow,
    detail: "grants_pb2.Detail.ValueType",
    key: bytes | None,
) -> int:
    """Writes a row at a level of detail into an empty record; the bytes that its content takes. key: its record key; where it is missing,
    or the sealed content is or does not fit, or what is masked fits into no answer, the record is marked as unreadable."""
    show_log_data(record, row)
    if row.data_key_id is None or detail == grants_pb2.DETAIL_METADATA:
        return 0
    try:
        opened = open_content(
            row.content or b"", key or b"", row.organization_id, row.record_id, row.data_key_id
        )
        record.content.MergeFromString(opened)
    except (Unsealable, DecodeError):
        record.ClearField("content")
        record.unreadable = True
        return 0
    if detail == grants_pb2.DETAIL_FULL:
        return len(opened)
    record.content.CopyFrom(masked(record.content))
    size = record.content.ByteSize()
    if size > _LARGEST_SHOWN:
        record.ClearField("content")
        record.unreadable = True
        return 0
    return size


def masked(content: interactions_pb2.InteractionContent) -> interactions_pb2.InteractionContent:
    """The content with personal data of the published kinds replaced, and everything that is no text left out. Built anew: a field that
    this code does not know does not slip through."""
    return interactions_pb2.InteractionContent(
        prompt=[_masked_message(message) for message in content.prompt],
        generations=[_masked_message(message) for message in content.generations],
        attributes=_masked_attributes(content.attributes),
    )


def _masked_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Names are as free as values: somebody will count by e-mail address. What becomes the same name is told apart by a number, given in
    an order in which nothing of the names that were there shows."""
    masked: dict[str, str] = {}
    for name, value in sorted((mask(name), _masked_value(name, attributes[name])) for name in attributes):
        free, number = name, 1
        while free in masked:
            number += 1
            free = f"{name} ({number})"
        masked[free] = value
    return masked


def _masked_value(name: str, value: str) -> str:
    """A value with what its name gives away: a bare row of digits is a telephone number where the name says so."""
    before = f"{name}: "
    together = mask(before + value)
    return mask(together.removeprefix(before) if together.startswith(before) else value)


def _masked_message(message: interactions_pb2.Message) -> interactions_pb2.Message:
    parts: list[interactions_pb2.Part] = []
    for is_data, run in groupby(message.parts, lambda part: part.WhichOneof("part") == "data"):
        together = list(run)
        texts = map(_note, together) if is_data else mask_parts([part.text for part in together])
        parts += map(_masked_part, together, texts)
    return interactions_pb2.Message(role=message.role, parts=parts)


def _note(part: interactions_pb2.Part) -> str:
    return f"[not shown: {mask(part.media_type)[:_LONGEST_NAME] or 'data'}, {len(part.data)} bytes]"


def _masked_part(part: interactions_pb2.Part, text: str) -> interactions_pb2.Part:
    kind, media_type = mask(part.kind)[:_LONGEST_NAME], mask(part.media_type)[:_LONGEST_NAME]
    is_data = part.WhichOneof("part") == "data"  # of which the note says what it is
    return interactions_pb2.Part(text=text, media_type="" if is_data else media_type, kind=kind)

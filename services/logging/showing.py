"""What a reader sees of a record at each level of detail: the least that does the job."""

from collections.abc import Mapping
from typing import Final

from google.protobuf.message import DecodeError

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import interactions_pb2, read_pb2
from services.logging.records import StoredRow
from services.logging.sealing import Unsealable, open_content
from shared.masking import mask

_LONGEST_NAME: Final = 100


def log_data_of(row: StoredRow) -> read_pb2.InteractionRecord:
    """Everything but the content."""
    shown = read_pb2.InteractionRecord(
        record_id=row.record_id,
        organization_id=row.organization_id,
        application=row.application,
        model=row.model,
        end_user=row.end_user,
        prompt_tokens=row.prompt_tokens,
        generation_tokens=row.generation_tokens,
        finish_reason=row.finish_reason,
        has_content=row.has_content,
        content_size=row.content_size,
        api_key_kind=interactions_pb2.ApiKeyKind.ValueType(row.api_key_kind),
    )
    created = int.from_bytes(
        row.record_id[:6]
    )  # by hand, for there may be hundreds: a datetime in between takes four times as long
    shown.created_at.seconds, shown.created_at.nanos = created // 1000, created % 1000 * 1_000_000
    shown.received_at.FromDatetime(row.received_at)
    if row.latency is not None:
        shown.latency.FromTimedelta(row.latency)
    return shown


def shown(
    row: StoredRow, detail: "grants_pb2.Detail.ValueType", key: bytes | None, content: bytes | None
) -> read_pb2.InteractionRecord:
    """The record at a level of detail. key: its record key, content: its sealed content; where one is missing, or they do not
    fit, the record is marked as unreadable."""
    record = log_data_of(row)
    if row.data_key_id is None or detail == grants_pb2.DETAIL_METADATA:
        return record
    try:
        opened = open_content(content or b"", key or b"", row.organization_id, row.record_id, row.data_key_id)
        record.content.MergeFromString(opened)
    except (Unsealable, DecodeError):
        record.ClearField("content")
        record.unreadable = True
        return record
    if detail != grants_pb2.DETAIL_FULL:
        record.content.CopyFrom(masked(record.content))
    return record


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
    return interactions_pb2.Message(role=message.role, parts=[_masked_part(part) for part in message.parts])


def _masked_part(part: interactions_pb2.Part) -> interactions_pb2.Part:
    kind, media_type = mask(part.kind)[:_LONGEST_NAME], mask(part.media_type)[:_LONGEST_NAME]
    if part.WhichOneof("part") == "data":
        note = f"[not shown: {media_type or 'data'}, {len(part.data)} bytes]"
        return interactions_pb2.Part(text=note, kind=kind)
    return interactions_pb2.Part(text=mask(part.text), media_type=media_type, kind=kind)

"""Messages as JSON documents, for programs and files."""

from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from kept.client import record_ids

# Bytes fields that hold record ids: UUIDs to people and programs alike.
RECORD_ID_FIELDS: Final = frozenset({"record_id", "record_ids", "lost"})


def to_document(message: Message) -> dict[str, Any]:
    """Protobuf JSON with the contract's field names; record ids as UUID text, other bytes as base64, int64 as text."""
    document = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _name_records(message, document)
    return document


def _name_records(message: Message, document: dict[str, Any]) -> None:
    for field, value in message.ListFields():
        if field.name in RECORD_ID_FIELDS and field.type == field.TYPE_BYTES:
            document[field.name] = (
                [record_ids.to_text(each) for each in value]
                if field.is_repeated
                else record_ids.to_text(value)
            )
        elif field.type == field.TYPE_MESSAGE and not is_map(field):
            shown = document[field.name]
            pairs = zip(value, shown, strict=True) if field.is_repeated else ((value, shown),)
            for inner, inner_document in pairs:
                if isinstance(inner_document, dict):  # times are text
                    _name_records(inner, inner_document)


def is_map(field: Any) -> bool:
    """Whether a field of a descriptor is a map."""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)

"""A content event that came as a log record: a record of its own.

Its span comes by another method, before or after it or never, so that the two cannot be one record: the first that came would stay, and
the other be lost as its duplicate. It carries content and no tokens: usage is counted on spans only.
"""

import hashlib
from typing import Final

from opentelemetry.proto.logs.v1 import logs_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.attributes import take_finish_reason, take_names, take_rest
from services.logging.otlp.contents import CONTENT_EVENTS, read_event
from services.logging.otlp.facts import Facts, Fault, Rejected, key_id_of, key_kind_of, organization_of
from services.logging.otlp.messages import Said
from services.logging.otlp.spans import (
    NANOSECONDS_A_MILLISECOND,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    is_id,
    marks,
)
from services.logging.otlp.values import by_name
from shared.ids import derived_record_id

# Where older SDKs put the name of an event.
_NAME: Final = "event.name"
# What makes an event's id another one than any span's: no organization's id begins like this.
_LABEL: Final = b"kept otlp event v1\0"


def name_of(event: logs_pb2.LogRecord) -> str:
    """The event's name if it is one that carries content; else empty."""
    name = event.event_name
    if not name:
        for one in event.attributes:
            if one.key == _NAME:
                name = one.value.string_value
    return name if name in CONTENT_EVENTS else ""


def interaction_of(
    event: logs_pb2.LogRecord, name: str, facts: Facts, only: str
) -> interactions_pb2.Interaction | None:
    """The interaction of a content event; None where it says nothing, as from programs that were told to send no content. See
    spans.interaction_of. Raises Rejected."""
    attributes = by_name(event.attributes)
    organization_id = organization_of(facts, event.attributes, attributes, only)
    kind = key_kind_of(facts, event.attributes, attributes)
    key_id = key_id_of(facts, event.attributes, attributes)
    # An id that is none is as if it were not there, and a span is one of a trace (OTLP, logs.proto).
    if not is_id(event.trace_id, TRACE_ID_BYTES):
        event.ClearField("trace_id")
    if not event.trace_id or not is_id(event.span_id, SPAN_ID_BYTES):
        event.ClearField("span_id")
    at = event.time_unix_nano or event.observed_time_unix_nano
    if not at:
        raise Rejected(Fault.NO_START_TIME)

    left_out = len(event.attributes) - len(attributes)
    attributes.pop(_NAME, None)
    interaction = interactions_pb2.Interaction(
        record_id=record_id_of(event, organization_id, name, at),
        organization_id=organization_id,
        application=facts.application,
        api_key_kind=kind,
        api_key_id=key_id,
    )
    said = Said(interaction.content)
    read_event(name, event.body, attributes, said)
    if not said.has_parts:
        return None
    take_names(attributes, interaction)
    interaction.finish_reason = take_finish_reason(attributes, said.finish_reasons)
    ours = {_NAME: name} | marks(event.trace_id, event.span_id, said)
    take_rest(attributes, interaction, ours, left_out)
    return interaction


def record_id_of(event: logs_pb2.LogRecord, organization_id: str, name: str, at: int) -> bytes:
    """The id of an event's record: its time, and the SHA-256 of a label of its own, organization, trace id, span id, time, name and what it
    says. Sent again, it is the same record; two events of a span, or of none, are two. at: nanoseconds."""
    digest = hashlib.sha256(_LABEL)
    said = logs_pb2.LogRecord(attributes=event.attributes)
    said.body.CopyFrom(event.body)
    for piece in (
        organization_id.encode(),
        event.trace_id,
        event.span_id,
        at.to_bytes(8),
        name.encode(),
        said.SerializeToString(deterministic=True),
    ):
        digest.update(len(piece).to_bytes(4) + piece)
    return derived_record_id(at // NANOSECONDS_A_MILLISECOND, digest.digest())

"""A span as an interaction: the call of a model, with its time, its tokens, and what was said."""

import hashlib
from collections.abc import Callable
from typing import Final

from opentelemetry.proto.trace.v1 import trace_pb2

from kept.logging.v1 import interactions_pb2
from services.logging.otlp.attributes import (
    ALTERED,
    SPAN_ID,
    TRACE_ID,
    is_call,
    take_finish_reason,
    take_names,
    take_rest,
    take_tokens,
)
from services.logging.otlp.contents import CONTENT_EVENTS, read_attributes, read_events
from services.logging.otlp.facts import Facts, Fault, Rejected, key_id_of, key_kind_of, organization_of
from services.logging.otlp.messages import Said
from services.logging.otlp.values import by_name
from shared.ids import derived_record_id

GENAI: Final = "gen_ai."
TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
NANOSECONDS_A_MILLISECOND: Final = 10**6
_NANOSECONDS_A_SECOND: Final = 10**9
_LONGEST: Final = 86_400 * _NANOSECONDS_A_SECOND


def is_genai(span: trace_pb2.Span) -> bool:
    """Whether the span says anything under the names of the GenAI conventions."""
    for one in span.attributes:
        if one.key.startswith(GENAI):
            return True
    return any(event.name in CONTENT_EVENTS for event in span.events)


def is_id(value: bytes, size: int) -> bool:
    """Whether this is a trace or span id: of the right length, not all zeros (OTLP, trace.proto)."""
    return len(value) == size and any(value)


def interaction_of(
    span: trace_pb2.Span,
    facts: Facts,
    only: str,
    add: Callable[..., interactions_pb2.Interaction] = interactions_pb2.Interaction,
    no_calls: set[bytes] | None = None,
) -> interactions_pb2.Interaction:
    """The interaction of a GenAI span. facts: of its resource. only: the one organization that the gateway is bound to, or empty.
    add: makes it, of its first fields. no_calls: gets its record id where the span is not of a call of a model. Raises Rejected."""
    listed = span.attributes
    attributes = by_name(listed)
    organization_id = organization_of(facts, listed, attributes, only)
    kind = key_kind_of(facts, listed, attributes)
    key_id = key_id_of(facts, listed, attributes)
    trace_id, span_id = span.trace_id, span.span_id
    if not is_id(trace_id, TRACE_ID_BYTES):
        raise Rejected(Fault.INVALID_TRACE_ID)
    if not is_id(span_id, SPAN_ID_BYTES):
        raise Rejected(Fault.INVALID_SPAN_ID)
    if not span.start_time_unix_nano:
        raise Rejected(Fault.NO_START_TIME)

    interaction = add(
        record_id=record_id_of(span, organization_id),
        organization_id=organization_id,
        application=facts.application,
        api_key_kind=kind,
        api_key_id=key_id,
    )
    said = Said(interaction.content)
    left_out = len(listed) - len(attributes) + read_attributes(attributes, said)
    happened = [event for event in span.events[:] if event.name in CONTENT_EVENTS]
    if happened:
        told = [(event.name, by_name(event.attributes)) for event in happened]
        left_out += read_events(told, attributes, said)
    take_names(attributes, interaction)
    if is_call(attributes, interaction):
        take_tokens(attributes, interaction)
    elif no_calls is not None:
        no_calls.add(interaction.record_id)
    interaction.finish_reason = take_finish_reason(attributes, said.finish_reasons)
    took = span.end_time_unix_nano - span.start_time_unix_nano
    if 0 <= took <= _LONGEST:  # anything else is a clock that was set, or no end at all
        latency = interaction.latency
        latency.seconds, latency.nanos = divmod(took, _NANOSECONDS_A_SECOND)
    take_rest(attributes, interaction, marks(trace_id, span_id, said), left_out)
    return interaction


def record_id_of(span: trace_pb2.Span, organization_id: str) -> bytes:
    """The id of a span's record: its start, and the SHA-256 of organization, trace id and span id. Sent again, it is the same record.
    No two of them share an input: trace and span ids have one length, and so has every organization's id that is taken."""
    digest = hashlib.sha256(organization_id.encode() + span.trace_id + span.span_id).digest()
    return derived_record_id(span.start_time_unix_nano // NANOSECONDS_A_MILLISECOND, digest)


def marks(trace_id: bytes, span_id: bytes, said: Said) -> dict[str, str]:
    """What we add to the attributes: where the record belongs, and whether a character of it had to be replaced."""
    found = {}
    if trace_id:
        found[TRACE_ID] = trace_id.hex()
    if span_id:
        found[SPAN_ID] = span_id.hex()
    if said.altered:
        found[ALTERED] = "U+FFFD stands for half a surrogate pair"
    return found

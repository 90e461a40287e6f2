"""Spans and events as exporters send them, and what is stored of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import interactions_pb2, read_pb2
from tests.unit.logging.peers import GRANT, NOON, ORG
from tests.unit.logging.world import World

STARTED = NOON - timedelta(seconds=5)
RESOURCE = {"service.name": "assistant", "kept.organization_id": ORG}
MARKER = "zebracanary"


def nanoseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def any_value(value: Any) -> common_pb2.AnyValue:
    """A Python value as an attribute's."""
    if isinstance(value, common_pb2.AnyValue):
        return value
    if isinstance(value, bool):
        return common_pb2.AnyValue(bool_value=value)
    if isinstance(value, int):
        return common_pb2.AnyValue(int_value=value)
    if isinstance(value, float):
        return common_pb2.AnyValue(double_value=value)
    if isinstance(value, str):
        return common_pb2.AnyValue(string_value=value)
    if isinstance(value, bytes):
        return common_pb2.AnyValue(bytes_value=value)
    if isinstance(value, Mapping):
        return common_pb2.AnyValue(kvlist_value=common_pb2.KeyValueList(values=key_values(value)))
    if isinstance(value, Sequence):
        return common_pb2.AnyValue(
            array_value=common_pb2.ArrayValue(values=[any_value(one) for one in value])
        )
    return common_pb2.AnyValue()


def key_values(attributes: Mapping[str, Any]) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(number: int, attributes: Mapping[str, Any], **changes: Any) -> trace_pb2.Span:
    """A span of this number, of 1.5 s. changes: its fields; `events` as (name, attributes)."""
    events = [
        trace_pb2.Span.Event(name=name, attributes=key_values(said), time_unix_nano=nanoseconds(STARTED))
        for name, said in changes.pop("events", ())
    ]
    start = changes.pop("start_time_unix_nano", nanoseconds(STARTED))
    values: dict[str, Any] = {
        "trace_id": number.to_bytes(16),
        "span_id": number.to_bytes(8),
        "name": "chat m-1",
        "start_time_unix_nano": start,
        "end_time_unix_nano": nanoseconds(STARTED) + 1_500_000_000,
    }
    return trace_pb2.Span(attributes=key_values(attributes), events=events, **(values | changes))


def chat(
    number: int, text: str = "hello", more: Mapping[str, Any] | None = None, **changes: Any
) -> trace_pb2.Span:
    """A call of a model that says this."""
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    return span(
        number,
        {"gen_ai.operation.name": "chat", "gen_ai.input.messages": said} | dict(more or {}),
        **changes,
    )


def event(
    name: str, body: Any = None, attributes: Mapping[str, Any] | None = None, **changes: Any
) -> logs_pb2.LogRecord:
    """A log record that is an event of this name, in span 1."""
    values: dict[str, Any] = {
        "trace_id": (1).to_bytes(16),
        "span_id": (1).to_bytes(8),
        "time_unix_nano": nanoseconds(STARTED),
        "event_name": name,
    }
    record = logs_pb2.LogRecord(attributes=key_values(attributes or {}), **(values | changes))
    if body is not None:
        record.body.CopyFrom(any_value(body))
    return record


def spans_request(
    *spans: trace_pb2.Span, resource: Mapping[str, Any] | None = None
) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    made = request.resource_spans.add()
    made.resource.attributes.extend(key_values(RESOURCE if resource is None else resource))
    made.scope_spans.add().spans.extend(spans)
    return request


def export(
    world: World, *spans: trace_pb2.Span, resource: Mapping[str, Any] | None = None
) -> tuple[int, str]:
    """Sends spans; how many were rejected, and what the answer says of it. Unset is (0, "")."""
    answer = world.otlp_spans.Export(spans_request(*spans, resource=resource))
    assert answer.HasField("partial_success") == bool(answer.partial_success.rejected_spans)
    return answer.partial_success.rejected_spans, answer.partial_success.error_message


def export_events(
    world: World, *events: logs_pb2.LogRecord, resource: Mapping[str, Any] | None = None
) -> tuple[int, str]:
    """Sends log records; see `export`."""
    request = logs_service_pb2.ExportLogsServiceRequest()
    made = request.resource_logs.add()
    made.resource.attributes.extend(key_values(RESOURCE if resource is None else resource))
    made.scope_logs.add().log_records.extend(events)
    answer = world.otlp_events.Export(request)
    assert answer.HasField("partial_success") == bool(answer.partial_success.rejected_log_records)
    return answer.partial_success.rejected_log_records, answer.partial_success.error_message


def stored(world: World, organization_id: str = ORG) -> list[read_pb2.InteractionRecord]:
    """Everything that is stored for an organization, as a reader with a grant in full sees it."""
    world.peers.scope = grants_pb2.DataScope(
        organization_id=organization_id, detail=grants_pb2.DETAIL_FULL, budget=10_000
    )
    world.peers.budget = 10_000
    request = read_pb2.ReadInteractionsRequest(
        grant_id=GRANT, organization_id=organization_id, detail=grants_pb2.DETAIL_FULL
    )
    return [answer.record for answer in world.read.ReadInteractions(request)]


Shown = tuple[str, list[Any]]


def shown(messages: Sequence[interactions_pb2.Message]) -> list[Shown]:
    """Messages as (role, parts): a plain text part as its text, any other as (kind, text, JSON, or bytes and media type)."""
    return [
        (
            interactions_pb2.MessageRole.Name(message.role).removeprefix("MESSAGE_ROLE_").lower(),
            [_part(part) for part in message.parts],
        )
        for message in messages
    ]


def _part(part: interactions_pb2.Part) -> Any:
    if part.WhichOneof("part") == "text":
        return (part.kind, part.text) if part.kind else part.text
    if part.media_type == "application/json":
        return (part.kind, json.loads(part.data))
    return (part.kind, part.media_type, part.data)

"""OTLP spans of calls of a model, as an exporter sends them: content in message attributes, by the GenAI conventions of OpenTelemetry."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# What an exporter's batch processor sends at most at once, unless it is told otherwise.
BATCH: Final = 512
SENDERS: Final = 4
_SAID: Final = "The answer to everything, said once more. "


def exports(spans: int, content_bytes: int, resource: dict[str, str]) -> list[bytes]:
    """So many new spans as serialized export requests, each span with content of so many bytes; half of them prompt, half generation."""
    said = _SAID * (content_bytes // (2 * len(_SAID)))
    attributes = [
        _attribute("gen_ai.operation.name", "chat"),
        _attribute("gen_ai.provider.name", "bench"),
        _attribute("gen_ai.request.model", "model-1"),
        _attribute("gen_ai.response.finish_reasons", ["stop"]),
        _attribute("gen_ai.usage.input_tokens", 180),
        _attribute("gen_ai.usage.output_tokens", 180),
        _attribute("gen_ai.input.messages", _messages("user", said)),
        _attribute("gen_ai.output.messages", _messages("assistant", said)),
    ]
    requests = []
    for start in range(0, spans, BATCH):
        request = trace_service_pb2.ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        for name, value in resource.items():
            resource_spans.resource.attributes.append(_attribute(name, value))
        scope = resource_spans.scope_spans.add()
        now = time.time_ns()
        for _ in range(min(BATCH, spans - start)):
            scope.spans.add(
                trace_id=secrets.token_bytes(16),
                span_id=secrets.token_bytes(8),
                name="chat model-1",
                kind=trace_pb2.Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=now - 1_500_000_000,
                end_time_unix_nano=now,
                attributes=attributes,
            )
        requests.append(request.SerializeToString())
    return requests


def export_all(channel: grpc.Channel, requests: Sequence[bytes]) -> None:
    """Sends them over a channel, from as many senders as a Collector has. Raises RuntimeError unless every span is taken."""
    export: Any = channel.unary_unary(
        EXPORT, lambda message: message, trace_service_pb2.ExportTraceServiceResponse.FromString
    )

    def send(some: Sequence[bytes]) -> None:
        for request in some:
            refused = export(request, timeout=120).partial_success
            if refused.rejected_spans:
                raise RuntimeError(f"{refused.rejected_spans} refused: {refused.error_message}")

    _side_by_side([partial(send, requests[each::SENDERS]) for each in range(SENDERS)])


def _side_by_side(works: Sequence[Callable[[], None]]) -> None:
    """Does all at once, each in a thread of its own; raises RuntimeError with the first failure after all have ended."""
    failures: list[str] = []

    def carry_out(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told after all have ended
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=carry_out, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _attribute(name: str, value: str | int | list[str]) -> common_pb2.KeyValue:
    if isinstance(value, list):
        values = [common_pb2.AnyValue(string_value=one) for one in value]
        return common_pb2.KeyValue(
            key=name, value=common_pb2.AnyValue(array_value=common_pb2.ArrayValue(values=values))
        )
    if isinstance(value, int):
        return common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(int_value=value))
    return common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=value))

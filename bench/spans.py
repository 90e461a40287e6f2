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

from kept.logging.v1 import interactions_pb2

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# What an exporter's batch processor sends at most at once, unless it is told otherwise.
BATCH: Final = 512
SENDERS: Final = 4


def exports(interactions: Sequence[interactions_pb2.Interaction], resource: dict[str, str]) -> list[bytes]:
    """A new span for each interaction, in serialized export requests."""
    requests = []
    for start in range(0, len(interactions), BATCH):
        request = trace_service_pb2.ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add()
        for name, value in resource.items():
            resource_spans.resource.attributes.append(_attribute(name, value))
        spans = resource_spans.scope_spans.add().spans
        now = time.time_ns()
        for one in interactions[start : start + BATCH]:
            spans.add(
                trace_id=secrets.token_bytes(16),
                span_id=secrets.token_bytes(8),
                name=f"chat {one.model}",
                kind=trace_pb2.Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=now - 1_500_000_000,
                end_time_unix_nano=now,
                attributes=_attributes(one),
            )
        requests.append(request.SerializeToString())
    return requests


def _attributes(one: interactions_pb2.Interaction) -> list[common_pb2.KeyValue]:
    return [
        _attribute("gen_ai.operation.name", "chat"),
        _attribute("gen_ai.provider.name", "bench"),
        _attribute("gen_ai.request.model", one.model),
        _attribute("gen_ai.response.finish_reasons", [one.finish_reason]),
        _attribute("gen_ai.usage.input_tokens", one.prompt_tokens),
        _attribute("gen_ai.usage.output_tokens", one.generation_tokens),
        _attribute("gen_ai.input.messages", _messages("user", one.content.prompt[0].parts[0].text)),
        _attribute(
            "gen_ai.output.messages", _messages("assistant", one.content.generations[0].parts[0].text)
        ),
    ]


def export_all(channels: Sequence[grpc.Channel], requests: Sequence[bytes]) -> None:
    """Sends them over channels, from as many senders as a Collector has. Raises RuntimeError unless every span is taken."""
    exporters: list[Any] = [
        channel.unary_unary(
            EXPORT, lambda message: message, trace_service_pb2.ExportTraceServiceResponse.FromString
        )
        for channel in channels
    ]

    def send(number: int) -> None:
        export = exporters[number % len(exporters)]
        for request in requests[number::SENDERS]:
            refused = export(request, timeout=120).partial_success
            if refused.rejected_spans:
                raise RuntimeError(f"{refused.rejected_spans} refused: {refused.error_message}")

    _side_by_side([partial(send, number) for number in range(SENDERS)])


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

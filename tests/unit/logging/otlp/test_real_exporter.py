"""A real OpenTelemetry SDK with its OTLP exporter, against the service's real gRPC server: loopback, mutual TLS, gzip."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import set_span_in_context

from deploy.local.authority import Authority
from deploy.local.ports import free_ports
from services.logging.otlp.contents import CONTENT_EVENTS
from services.logging.otlp.facts import API_KEY_KIND, ORGANIZATION, Fault
from shared.call_threads import StreamPool
from shared.channels import MAX_MESSAGE_BYTES
from shared.config import Tls
from shared.identity import CertificateIdentity
from shared.server import build
from tests.unit.logging.otlp.exports import (
    RESOURCE,
    STARTED,
    chat,
    nanoseconds,
    shown,
    span,
    spans_request,
    stored,
)
from tests.unit.logging.world import World, config

GUIDE = Path("docs/otlp.md").read_text()
RECIPE = GUIDE.split("```python\n")[1].split("```")[0]
SPANS = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Door:
    """The services' port of a logging service. port: where a relay that counts the bytes from clients listens."""

    port: int
    credentials: grpc.ChannelCredentials
    files: dict[str, bytes]
    received: list[int]

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def channel(self, **options: Any) -> grpc.Channel:
        return grpc.secure_channel(f"127.0.0.1:{self.port}", self.credentials, **options)


@pytest.fixture
def door(world: World, tmp_path: Path) -> Iterator[Door]:
    """The world's service behind a real server, and the credentials of the gateway "edge"."""
    authority = Authority(tmp_path, trust_domain="kept.local", environment="local")
    served, gateway = authority.issue("logging", serves=True), authority.issue("gateway/edge", serves=False)
    port, relayed = free_ports(2)
    tls = Tls(certificate=served.certificate, key=served.key, authority=served.authority)
    server = build(
        config().model_copy(update={"tls": tls}),
        world.service,
        health.HealthServicer(),
        CertificateIdentity("kept.local").identify,
        StreamPool(2),
        f"127.0.0.1:{port}",
        client_certificates=True,
    )
    server.start()
    files = {
        "ca_certificate": gateway.authority.read_bytes(),
        "gateway_key": gateway.key.read_bytes(),
        "gateway_certificate": gateway.certificate.read_bytes(),
    }
    with relay(relayed, port) as received:
        yield Door(relayed, grpc.ssl_channel_credentials(*files.values()), files, received)
    server.stop(1).wait()


@contextmanager
def relay(port: int, to: int) -> Iterator[list[int]]:
    """Passes connections on; gives the sizes of what clients sent."""
    received: list[int] = []

    def pump(source: socket.socket, sink: socket.socket, sizes: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sizes.append(len(data))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", to))
                for arguments in ((client, server, received), (server, client, [])):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        yield received


def test_what_a_real_sdk_exports_arrives_whole(world: World, door: Door) -> None:
    resource = Resource.create(RESOURCE)
    spans = TracerProvider(resource=resource)
    names: dict[str, Any] = {"grpc": grpc, "OTLPSpanExporter": OTLPSpanExporter, "provider": spans}
    names |= {"BatchSpanProcessor": BatchSpanProcessor} | door.files
    exec(RECIPE.replace("https://kept.example:8443", door.endpoint), names)
    events = LoggerProvider(resource=resource)
    events.add_log_record_processor(
        BatchLogRecordProcessor(
            OTLPLogExporter(
                endpoint=door.endpoint, credentials=door.credentials, compression=grpc.Compression.Gzip
            )
        )
    )
    said = [{"role": "user", "parts": [{"type": "text", "content": "Grüße \U0001f600 " * 20_000}]}]
    answered = [{"role": "assistant", "parts": [{"type": "text", "content": "Hi."}], "finish_reason": "stop"}]
    start = nanoseconds(STARTED)
    tracer = spans.get_tracer("a program")
    tracer.start_span("GET /", start_time=start).end(start + 10**6)
    for number in range(3):
        span = tracer.start_span(
            "chat m-1",
            start_time=start + number,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "m-1",
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 34,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.input.messages": json.dumps(said),
                "gen_ai.output.messages": json.dumps(answered),
            },
        )
        span.end(start + 2 * 10**9)
        events.get_logger("a program").emit(
            LogRecord(
                timestamp=start,
                context=set_span_in_context(span),
                severity_number=SeverityNumber.INFO,
                event_name="gen_ai.user.message",
                body={"content": "in an event"},
            )
        )
    assert spans.force_flush()
    assert events.force_flush()
    spans.shutdown()
    events.shutdown()

    records = stored(world)
    calls = [one for one in records if one.prompt_tokens]
    assert [len(calls), len(records)] == [3, 6]
    for one in calls:
        assert (one.application, one.model, one.finish_reason) == ("assistant", "m-1", "stop")
        assert shown(one.content.prompt) == [("user", [said[0]["parts"][0]["content"]])]  # type: ignore[index]
        assert shown(one.content.generations) == [("assistant", ["Hi."])]
    where = {one.content.attributes["otel.span_id"] for one in calls}
    for one in records:
        assert one.content.attributes["otel.span_id"] in where
        if one not in calls:
            assert shown(one.content.prompt) == [("user", ["in an event"])]
    # Compressed: what was said alone has more than 1.5 MB.
    assert 0 < sum(door.received) < 200_000


def test_the_limit_of_an_export_is_in_bytes(door: Door) -> None:
    def of_size(size: int) -> bytes:
        aside = spans_request(span(1, {"http.response.body": "x" * (size - 200)}))
        aside.resource_spans[0].scope_spans[0].scope.name = "s" * 50
        aside.resource_spans[0].scope_spans[0].scope.name = "s" * (50 + size - aside.ByteSize())
        return aside.SerializeToString()

    with door.channel(options=(("grpc.max_send_message_length", -1),)) as channel:
        send: Any = channel.unary_unary(SPANS, lambda data: data, lambda data: data)
        for size in (MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES):
            sent = of_size(size)
            assert (len(sent), send(sent, timeout=30)) == (size, b"")
        with pytest.raises(grpc.RpcError) as refused:
            send(of_size(MAX_MESSAGE_BYTES + 1), timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_gzip_blows_up_beyond_the_limit_is_refused(door: Door) -> None:
    bomb = spans_request(chat(1, "x" * (64 * 1024 * 1024))).SerializeToString()
    with door.channel(options=(("grpc.max_send_message_length", -1),)) as channel:
        send: Any = channel.unary_unary(SPANS, lambda data: data, lambda data: data)
        with pytest.raises(grpc.RpcError) as refused:
            send(bomb, timeout=30, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        failed: Any = refused.value
        assert "grpc-status-details-bin" not in [
            one.key for one in failed.trailing_metadata()
        ]  # no RetryInfo
        assert sum(door.received) < MAX_MESSAGE_BYTES
        assert send(spans_request(chat(2)).SerializeToString(), timeout=30) == b""


def test_the_guide_names_every_reason_and_every_event() -> None:
    assert [
        one for one in (*Fault, *CONTENT_EVENTS, ORGANIZATION, API_KEY_KIND) if f"`{one}`" not in GUIDE
    ] == []
    assert RECIPE.count("\n") == 3

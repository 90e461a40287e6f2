"""Traces are off until somebody switches them on, follow a call from service to service, and hold no content."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deploy.local.ports import free_ports
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from shared import tracing
from shared.config import Traces
from shared.errors import KeptError
from shared.identity import Caller, CallerKind
from tests.support.server import Running, running

pytestmark = pytest.mark.integration
CANARY = "zebracanary-that-no-span-may-hold"
LIST = "/kept.safety_review.v1.DetectorService/ListRules"
TRACES = Traces(endpoint="http://127.0.0.1:4317", ratio=1.0)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class OfNewThreads(SimpleSpanProcessor):
    """Passes over calls that servers of earlier tests still had waiting when those ended: their threads were there before."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        super().__init__(exporter)
        self._before = {*threading.enumerate()} - {threading.current_thread()}

    def on_end(self, span: ReadableSpan) -> None:
        if threading.current_thread() not in self._before:
            super().on_end(span)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.configure("safety_review", TRACES, OfNewThreads(exporter))
    yield exporter
    tracing.close()


def staff(_context: Any) -> Caller:
    return Caller(CallerKind.STAFF, issuer=CANARY, subject=CANARY)


def answer(_context: Any) -> detectors_pb2.ListRulesResponse:
    return detectors_pb2.ListRulesResponse(rules_version=CANARY)


def crash(_context: Any) -> detectors_pb2.ListRulesResponse:
    raise RuntimeError(CANARY)


def call(server: Running, *metadata: tuple[str, str]) -> None:
    credentials = grpc.ssl_channel_credentials(server.config.tls.authority.read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        stub = detectors_pb2_grpc.DetectorServiceStub(channel)
        given: Any = (("authorization", f"Bearer {CANARY}"), *metadata)
        stub.ListRules(detectors_pb2.ListRulesRequest(), timeout=10, metadata=given)


def said(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_a_served_call_is_a_span_and_what_it_may_say_is_all_it_says(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port, identify=staff) as server:
        call(server, ("tracestate", f"a={CANARY}"), ("baggage", f"a={CANARY}"))
    (span,) = spans.get_finished_spans()
    assert span.name == "kept.safety_review.v1.DetectorService/ListRules"
    assert said(span) == {
        "rpc.system": "grpc",
        "rpc.service": "kept.safety_review.v1.DetectorService",
        "rpc.method": "ListRules",
    }
    assert dict(span.resource.attributes) == {"service.name": "safety_review"}
    assert CANARY not in span.to_json()


def test_a_failure_is_said_by_its_reason_and_never_by_its_text(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    (port,) = free_ports(1)
    with running(tmp_path, crash, port=port, identify=staff) as server, pytest.raises(grpc.RpcError):
        call(server)
    (span,) = spans.get_finished_spans()
    assert said(span)["kept.reason"] == "INTERNAL"
    assert said(span)["rpc.grpc.status_code"] == grpc.StatusCode.INTERNAL.value[0]
    assert str(said(span)["kept.correlation_id"]).startswith("call_")
    assert (list(span.events), span.status.description) == ([], None)
    assert CANARY not in span.to_json()


def test_only_who_brings_a_certificate_puts_a_call_under_a_span_of_theirs(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    people, services = free_ports(2)
    with running(tmp_path / "people", answer, port=people, identify=staff) as server:
        call(server, ("traceparent", PARENT))
    with running(tmp_path / "services", answer, port=services) as server:
        channels = server.channels("logging")
        stub = detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review"))
        with pytest.raises(KeptError):  # logging may not; the refusal is a span too
            stub.ListRules(detectors_pb2.ListRulesRequest(), metadata=(("traceparent", PARENT),))
        channels.close()
    of_people, of_service = spans.get_finished_spans()
    assert of_people.parent is None
    assert of_service.parent is not None
    assert f"{of_service.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert said(of_service)["kept.reason"] == "CALLER_NOT_ALLOWED"


def test_a_call_that_is_made_while_one_is_served_goes_under_it(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    inner, outer = free_ports(2)
    with running(tmp_path / "inner", answer, port=inner) as below:
        channels = below.channels("retention")

        def pass_on(_context: Any) -> detectors_pb2.ListRulesResponse:
            stub = detectors_pb2_grpc.DetectorServiceStub(channels.connect("safety_review"))
            with pytest.raises(KeptError):
                stub.ListRules(detectors_pb2.ListRulesRequest())
            return answer(None)

        with running(tmp_path / "outer", pass_on, port=outer, identify=staff) as server:
            call(server)
        channels.close()
    below_span, above = sorted(spans.get_finished_spans(), key=lambda span: span.parent is None)
    assert below_span.parent is not None
    assert above.context is not None
    assert below_span.parent.span_id == above.context.span_id


def test_without_a_collector_there_are_none(tmp_path: Path) -> None:
    tracing.configure("safety_review", None)
    (port,) = free_ports(1)
    with running(tmp_path, answer, port=port, identify=staff) as server:
        call(server)
    assert tracing.outgoing(None) is None


@pytest.mark.parametrize("endpoint", ["http://collector.example:4317", "https://collector", "collector:4317"])
def test_a_collector_is_reached_by_tls_or_on_this_machine(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Traces(endpoint=endpoint)


class _Public:
    """The context of a call without certificate or metadata."""

    def auth_context(self) -> dict[str, object]:
        return {}

    def invocation_metadata(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(("is_left", "seen"), [(False, 1), (True, 0)])
def test_a_stream_is_a_span_unless_its_reader_left_it(
    spans: InMemorySpanExporter, is_left: bool, seen: int
) -> None:
    def stream() -> Iterator[int]:
        context: Any = _Public()
        with tracing.served(LIST, context):
            yield 1
            assert tracing.outgoing(None) is not None, "what it asks of others goes under it"

    answers = stream()
    assert next(answers) == 1
    if is_left:
        answers.close()  # type: ignore[attr-defined]
    else:
        assert list(answers) == []
    assert len(spans.get_finished_spans()) == seen
    assert tracing.outgoing(None) is None

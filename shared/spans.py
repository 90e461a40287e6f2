"""Spans by OpenTelemetry, and what may stand in them. Imported only where traces are on (shared/tracing.py)."""

from typing import Final
from urllib.parse import urlsplit

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.config import Traces

PARENT: Final = "traceparent"
_propagator: Final = TraceContextTextMapPropagator()


class Spans:
    """Makes spans, and has them sent. processor: in the place of the one that sends to the collector; for tests."""

    def __init__(self, service: str, traces: Traces, processor: SpanProcessor | None = None) -> None:
        # Built here and not by `create`, which would add whatever the environment says.
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(traces.ratio), resource=Resource({"service.name": service})
        )
        self._provider.add_span_processor(processor or _sending(traces))
        self._tracer = self._provider.get_tracer("kept")

    def begin(self, method: str, context: grpc.ServicerContext) -> Span:
        """The span of a call that is served."""
        service, _, name = method.lstrip("/").partition("/")
        return self._tracer.start_span(
            f"{service}/{name}",
            context=_parent(context),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def fail(span: Span, status: grpc.StatusCode, reason: str, correlation_id: str) -> None:
    """How a call ended that failed. No text of an error: it may quote what was asked."""
    span.set_attribute("rpc.grpc.status_code", int(status.value[0]))
    span.set_attribute("kept.reason", reason)
    span.set_attribute("kept.correlation_id", correlation_id)
    span.set_status(Status(StatusCode.ERROR))


def traceparent(span: Span) -> str:
    """The span, as a call that is made under it carries it (W3C Trace Context, §3.2)."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier[PARENT]


def _parent(context: grpc.ServicerContext) -> Context:
    """The caller's span, if it came with a certificate; none otherwise."""
    if not context.auth_context().get("peer_spiffe_id"):
        return Context()
    found = {key: str(value) for key, value in context.invocation_metadata() or () if key == PARENT}
    return _propagator.extract(found, Context())


def _sending(traces: Traces) -> SpanProcessor:
    address = urlsplit(traces.endpoint)
    is_plain = address.scheme == "http"
    root = None if traces.authority is None else traces.authority.read_bytes()
    return BatchSpanProcessor(
        OTLPSpanExporter(
            endpoint=address.netloc,
            insecure=is_plain,
            credentials=None if is_plain else grpc.ssl_channel_credentials(root),
        )
    )

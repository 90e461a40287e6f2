"""Traces: a span for each call that is served. Off, unless a collector is configured; never with content (docs/operations/tracing.md).

A span says which method, how long, how it ended and why, under which correlation id. What it may say is written in shared/spans.py,
attribute by attribute: nothing of a request, an answer, a token, a caller or an exception reaches it. The general instrumentations of gRPC
write exceptions' texts and metadata into spans, so this is not one of them.

Only services and gateways may put their calls under a span of theirs: who has no certificate could have everything sampled. `tracestate`
and baggage are free text from outside, and are never passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import grpc

from shared.config import Traces

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

    from shared.spans import Spans

# The span of the call that this thread serves.
_current: ContextVar[Span | None] = ContextVar("kept_span", default=None)
_spans: Spans | None = None


class ServedCall:
    """A call that is being served, as its span sees it."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def failed(self, status: grpc.StatusCode, reason: str, correlation_id: str) -> None:
        """It ends with this status. reason: a name of kept.errors.v1.Reason."""
        if self._span is not None:
            from shared import spans

            spans.fail(self._span, status, reason, correlation_id)


_UNSEEN: Final = ServedCall(None)


def configure(service: str, traces: Traces | None, processor: SpanProcessor | None = None) -> None:
    """Switches traces on, or off with None. processor: see Spans."""
    global _spans
    close()
    if traces is not None:
        # OpenTelemetry is loaded only where it is wanted: it costs a start a fifth of a second.
        from shared.spans import Spans

        _spans = Spans(service, traces, processor)


def close() -> None:
    """Sends what is left, and switches traces off."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


@contextmanager
def served(method: str, context: grpc.ServicerContext) -> Iterator[ServedCall]:
    """The span of a call, as long as the block runs. method: "/package.Service/Method". A stream that nobody listens to any more is ended
    by a finalizer, in the middle of anything: such a call has no span, for to end one takes a lock."""
    if _spans is None:
        yield _UNSEEN
        return
    span, outer = _spans.begin(method, context), _current.get()
    _current.set(span)
    try:
        yield ServedCall(span)
    except GeneratorExit:
        raise
    except BaseException:
        span.end()
        raise
    else:
        span.end()
    finally:
        # Not by a token: a generator may be ended in another thread than it was begun in.
        _current.set(outer)


def outgoing(metadata: Sequence[tuple[str, Any]] | None) -> Sequence[tuple[str, Any]] | None:
    """The metadata of a call to another service, which goes under the span of the call that is being served."""
    span = _current.get()
    if span is None:
        return metadata
    from shared import spans

    return (*(metadata or ()), (spans.PARENT, spans.traceparent(span)))

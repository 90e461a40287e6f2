"""A stream that nobody asks again is ended by the collector, in the middle of anything: it waits for no lock, and it is counted."""

import gc
import threading
from types import SimpleNamespace
from typing import Any
from unittest import mock

import grpc

from shared.call_threads import StreamPool
from shared.identity import Caller, CallerKind
from shared.pipeline import Pipeline
from shared.telemetry import CALLS, RPC_ACTIVE, RPC_SECONDS

METHOD = "/grpc.health.v1.Health/Watch"  # open to everybody


def opened(pool: StreamPool | None = None) -> Any:
    """A stream that was asked once."""
    handler = grpc.unary_stream_rpc_method_handler(lambda request, context: iter([1, 2, 3]))
    pipeline = Pipeline(lambda _: Caller(CallerKind.PUBLIC), mock.Mock(), pool)
    wrapped = pipeline.intercept_service(lambda _: handler, SimpleNamespace(method=METHOD))  # type: ignore[arg-type]
    assert wrapped is not None
    assert wrapped.stream_stream is not None
    assert wrapped.request_deserializer is not None
    stream = wrapped.stream_stream(iter([wrapped.request_deserializer(b"")]), mock.Mock())
    assert next(stream) == 1
    return stream


def forget(stream: Any) -> None:
    """Leaves it to the collector."""
    cycle: list[Any] = [stream]
    cycle.append(cycle)


def cancelled() -> float:
    found = [
        sample.value
        for metric in RPC_SECONDS.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels == {"method": METHOD, "code": "CANCELLED"}
    ]
    return found[0] if found else 0.0


def test_the_collector_may_come_while_a_metric_is_locked() -> None:
    gc.collect()  # what other tests left is collected, and counted with the next call
    CALLS.end(CALLS.begin("unary", METHOD), "OK")
    before, active = cancelled(), RPC_ACTIVE.labels("stream")._value.get()
    forget(opened())
    collected = threading.Event()

    def collect() -> None:
        with RPC_SECONDS._lock, RPC_ACTIVE._lock:
            gc.collect()
        collected.set()

    threading.Thread(target=collect, daemon=True).start()
    assert collected.wait(20), "the finalizer waits for the lock that is held where it runs"

    CALLS.end(CALLS.begin("unary", METHOD), "OK")
    assert cancelled() == before + 1
    assert RPC_ACTIVE.labels("stream")._value.get() == active


def test_its_place_is_free_again() -> None:
    pool = StreamPool(1)
    forget(opened(pool))
    gc.collect()

    with pool.place():
        pass

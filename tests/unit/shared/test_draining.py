"""A process that goes ends streams that would go on for ever: their callers open others elsewhere, and not when its grace is over."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc
from shared.call_threads import StreamPool
from shared.callers import not_allowed
from shared.channels import TypedCalls
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from shared.pipeline import Pipeline


class _Nobody:
    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        return caller


class _Watched(authz_pb2_grpc.AuthzServiceServicer):
    def WatchEndedGrants(
        self, request: authz_pb2.WatchEndedGrantsRequest, context: grpc.ServicerContext
    ) -> Iterator[authz_pb2.WatchEndedGrantsResponse]:
        while context.is_active():
            yield authz_pb2.WatchEndedGrantsResponse()
            threading.Event().wait(0.01)


class _Recorded(ingest_pb2_grpc.IngestServiceServicer):
    def RecordInteractions(
        self, request_iterator: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.RecordInteractionsResponse]:
        for _ in request_iterator:
            yield ingest_pb2.RecordInteractionsResponse()


@contextmanager
def _serving(
    add: Callable[[grpc.Server], None], caller: Caller
) -> Iterator[tuple[grpc.Server, StreamPool, grpc.Channel]]:
    streams = StreamPool(4)
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[Pipeline(lambda _: caller, _Nobody(), streams)])
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield server, streams, TypedCalls("access_control", lambda: channel)
        finally:
            server.stop(None)


def test_an_endless_stream_ends_with_a_reason_when_its_process_drains() -> None:
    def add(server: grpc.Server) -> None:
        authz_pb2_grpc.add_AuthzServiceServicer_to_server(_Watched(), server)  # type: ignore[abstract]

    with _serving(add, Caller(CallerKind.SERVICE, name="logging")) as (server, streams, channel):
        answers: Any = authz_pb2_grpc.AuthzServiceStub(channel).WatchEndedGrants(
            authz_pb2.WatchEndedGrantsRequest()
        )
        next(answers)
        stopped = server.stop(30)
        streams.drain()
        with pytest.raises(KeptError) as ended:
            list(answers)
        assert ended.value.reason == Reason.REASON_SHUTTING_DOWN
        assert ended.value.retry_after is not None
        assert stopped.wait(10), "and the server is not held up by it for as long as its grace"


def test_a_stream_of_batches_ends_between_two_of_them() -> None:
    """What was answered stays answered; what comes after is sent again, to another process."""

    def add(server: grpc.Server) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Recorded(), server)  # type: ignore[abstract]

    drained = threading.Event()

    def batches() -> Iterator[ingest_pb2.RecordInteractionsRequest]:
        batch = ingest_pb2.RecordInteractionsRequest()
        batch.interactions.add(record_id=bytes(16), organization_id="org_" + "0" * 26)
        yield batch
        drained.wait(10)
        yield batch

    with _serving(add, Caller(CallerKind.GATEWAY, name="demo")) as (_, streams, channel):
        answers: Any = ingest_pb2_grpc.IngestServiceStub(channel).RecordInteractions(batches())
        next(answers)
        streams.drain()
        drained.set()
        with pytest.raises(KeptError) as ended:
            next(answers)
        assert ended.value.reason == Reason.REASON_SHUTTING_DOWN

"""What a caller sends is parsed when the caller is known, and not before: a few bytes may be a great many objects."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import grpc
import pytest

from shared.callers import largest_request
from shared.channels import TypedCalls
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from shared.inprocess import InProcess
from shared.pipeline import Pipeline
from shared.service import Service

SERVICE, NAME = "kept.logging.v1.IngestService", "RecordInteractions"
METHOD = f"/{SERVICE}/{NAME}"
GATEWAY = Caller(CallerKind.GATEWAY, name="demo")
STRANGERS = [Caller(CallerKind.PUBLIC), Caller(CallerKind.SERVICE, name="settings")]
MALFORMED = b"\xffheliotrope-31337"


def one(request: bytes, _context: Any) -> bytes:
    return request


def answers(request: bytes, _context: Any) -> Iterator[bytes]:
    yield request


def requests(arriving: Iterator[bytes], _context: Any) -> bytes:
    return b"".join(arriving)


def both(arriving: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    yield from arriving


HANDLERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "unary_unary": (grpc.unary_unary_rpc_method_handler, one),
    "unary_stream": (grpc.unary_stream_rpc_method_handler, answers),
    "stream_unary": (grpc.stream_unary_rpc_method_handler, requests),
    "stream_stream": (grpc.stream_stream_rpc_method_handler, both),
}
Ask = Callable[[Caller, bytes], bytes]


@contextmanager
def over_sockets(service: Service, caller: Caller) -> Iterator[grpc.Channel]:
    server = grpc.server(
        ThreadPoolExecutor(2),
        interceptors=[Pipeline(lambda _: caller, service.authority)],
        options=[("grpc.max_receive_message_length", -1)],
    )
    service.register(server)  # type: ignore[arg-type] # it is given generic handlers only
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield TypedCalls("logging", lambda: channel)
        finally:
            server.stop(None)


@contextmanager
def in_process(service: Service, caller: Caller) -> Iterator[grpc.Channel]:
    yield InProcess(service).channel(caller)


@pytest.fixture
def parsed() -> list[bytes]:
    """What the parser was given."""
    return []


@pytest.fixture(params=HANDLERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which sides of the call are streams."""
    return str(request.param)


@pytest.fixture(params=[over_sockets, in_process])
def ask(request: pytest.FixtureRequest, kind: str, parsed: list[bytes]) -> Ask:
    """Calls the method with bytes, and gives what it answers. Raises KeptError."""

    def parse(data: bytes) -> bytes:
        parsed.append(data)
        if data == MALFORMED:
            raise ValueError(MALFORMED)
        return data + b" parsed"

    make, behavior = HANDLERS[kind]
    handlers = grpc.method_handlers_generic_handler(SERVICE, {NAME: make(behavior, parse, bytes)})
    authority = mock.Mock()
    authority.authorize_gateway = lambda caller, _method: caller
    service = Service(
        register=lambda registrar: registrar.add_generic_rpc_handlers((handlers,)),
        jobs=[],
        authority=authority,
    )

    def call(caller: Caller, data: bytes) -> bytes:
        with request.param(service, caller) as channel:
            invoke = getattr(channel, kind)(METHOD, bytes, bytes)
            answered = invoke(iter([data]) if kind.startswith("stream") else data, timeout=20)
            return b"".join(answered) if kind.endswith("stream") else bytes(answered)

    return call


def too_large() -> bytes:
    limit = largest_request(METHOD)
    assert limit is not None
    return bytes(limit + 1)


@pytest.mark.parametrize("stranger", STRANGERS, ids=["anonymous", "service"])
@pytest.mark.parametrize("data", [b"well", MALFORMED, too_large()], ids=["well", "malformed", "large"])
def test_what_somebody_sends_who_may_not_call_is_not_parsed(
    ask: Ask, parsed: list[bytes], stranger: Caller, data: bytes
) -> None:
    with pytest.raises(KeptError) as refused:
        ask(stranger, data)
    assert refused.value.reason == Reason.REASON_CALLER_NOT_ALLOWED
    assert parsed == []


def test_methods_get_what_was_parsed(ask: Ask, parsed: list[bytes]) -> None:
    assert ask(GATEWAY, b"well") == b"well parsed"
    assert parsed == [b"well"]


def test_what_cannot_be_parsed_is_the_callers_fault(ask: Ask) -> None:
    with pytest.raises(KeptError) as refused:
        ask(GATEWAY, MALFORMED)
    assert refused.value.reason == Reason.REASON_MALFORMED_MESSAGE


def test_what_is_too_large_for_the_contract_is_not_parsed(ask: Ask, parsed: list[bytes]) -> None:
    with pytest.raises(KeptError) as refused:
        ask(GATEWAY, too_large())
    assert refused.value.reason == Reason.REASON_TOO_LARGE
    assert refused.value.metadata == {"limit": str(largest_request(METHOD))}
    assert parsed == []


def test_nothing_shows_the_bytes() -> None:
    handler = grpc.unary_unary_rpc_method_handler(one, bytes)
    pipeline = Pipeline(lambda _: GATEWAY, mock.Mock())
    wrapped = pipeline.intercept_service(lambda _: handler, SimpleNamespace(method=METHOD))  # type: ignore[arg-type]
    assert wrapped is not None
    assert wrapped.request_deserializer is not None
    assert "heliotrope" not in repr(wrapped.request_deserializer(MALFORMED))

"""Callers who open calls and send nothing keep nobody else waiting."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock

import grpc
import pytest

from kept.options.v1 import callers_pb2
from shared import callers
from shared.call_threads import CALLS_PER_WORKER, StreamPool, Workers
from shared.errors import KeptError, Reason, from_rpc_error
from shared.identity import Caller, CallerKind
from shared.pipeline import Pipeline
from shared.silence import LONGEST_SILENCE, Silence

SERVICE = "kept.logging.v1.IngestService"
ONCE, STREAM = f"/{SERVICE}/RecordInteraction", f"/{SERVICE}/RecordInteractions"
OPEN_ONCE, OPEN_STREAM = f"/{SERVICE}/Open", f"/{SERVICE}/OpenStream"  # to everybody
THREADS = 2
# SHORT is long enough for a message that was sent, also on a busy machine.
SHORT, LONG = timedelta(seconds=1), timedelta(minutes=5)
GATEWAY = (("caller", "gateway"),)


def identify(context: grpc.ServicerContext) -> Caller:
    named = dict(context.invocation_metadata() or ()).get("caller") == "gateway"
    return Caller(CallerKind.GATEWAY, name="demo") if named else Caller(CallerKind.PUBLIC)


def once(request: bytes, _context: Any) -> bytes:
    return request


def streaming(request: bytes, _context: Any) -> Iterator[bytes]:
    yield request


def echo(arriving: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    yield from arriving


ONE_MESSAGE = {
    "answers once": grpc.unary_unary_rpc_method_handler(once),
    "answers with a stream": grpc.unary_stream_rpc_method_handler(streaming),
}
each_kind = pytest.mark.parametrize("handler", ONE_MESSAGE.values(), ids=ONE_MESSAGE)


@contextmanager
def serving(
    handler: Any, longest: timedelta = LONGEST_SILENCE, streams: int = THREADS
) -> Iterator[grpc.Channel]:
    """A server with `handler` for one message, and a stream of requests that is echoed."""
    authority = mock.Mock()
    authority.authorize_gateway = lambda caller, _method: caller
    workers = Workers(THREADS)
    pipeline = Pipeline(identify, authority, StreamPool(streams), workers=workers, silence=Silence(longest))
    server = grpc.server(workers, interceptors=[pipeline])
    echoing = grpc.stream_stream_rpc_method_handler(echo)
    handlers = {
        "RecordInteraction": handler,
        "RecordInteractions": echoing,
        "Open": handler,
        "OpenStream": echoing,
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield channel
        finally:
            server.stop(None)


@pytest.fixture(autouse=True)
def open_to_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in (OPEN_ONCE, OPEN_STREAM):
        monkeypatch.setitem(callers._cache, method, callers_pb2.Callers(public=True))


@pytest.fixture
def silent() -> Iterator[Callable[..., Any]]:
    """Opens a call that sends nothing."""
    leave = threading.Event()

    def nothing() -> Iterator[bytes]:
        leave.wait(60)
        yield b""

    def call(channel: grpc.Channel, metadata: Any = (), method: str = ONCE) -> Any:
        # What is a stream to this caller is none to the contract: on the wire there is no difference.
        return channel.stream_unary(method, bytes, bytes).future(nothing(), metadata=metadata)

    yield call
    leave.set()


def ask(channel: grpc.Channel, *messages: bytes) -> bytes:
    """What a gateway is answered who sends these. Calls that ended leave their places a moment later; so it asks again, as it is told."""
    invoke: Any = channel.unary_unary if len(messages) == 1 else channel.stream_unary
    until = time.monotonic() + 20
    while True:
        sent = messages[0] if len(messages) == 1 else iter(messages)
        try:
            answered: bytes = invoke(ONCE, bytes, bytes)(sent, timeout=20, metadata=GATEWAY)
        except grpc.RpcError as error:
            if (
                from_rpc_error(error, "logging").reason != Reason.REASON_OVERLOADED
                or time.monotonic() > until
            ):
                raise
        else:
            return answered


@each_kind
def test_who_may_not_call_is_told_so_though_he_sends_nothing(
    handler: Any, silent: Callable[..., Any]
) -> None:
    # As many places for streams as there are callers: one more is refused for that, which is another matter.
    with serving(handler, streams=3 * THREADS) as channel:
        calls = [silent(channel) for _ in range(3 * THREADS)]
        assert ask(channel, b"well") == b"well", "and the threads serve others"
        for call in calls:
            refused = from_rpc_error(call.exception(20), "logging")
            assert refused.reason == Reason.REASON_CALLER_NOT_ALLOWED


@each_kind
def test_who_may_call_and_stays_silent_is_ended(handler: Any, silent: Callable[..., Any]) -> None:
    with serving(handler, SHORT) as channel:
        for _ in range(2):  # the second time nobody has waited for a while
            calls = [silent(channel, GATEWAY) for _ in range(THREADS)]
            assert {call.exception(20).code() for call in calls} == {grpc.StatusCode.CANCELLED}
            assert ask(channel, b"well") == b"well", "the threads are free"


@each_kind
def test_who_says_that_no_message_comes_is_refused(handler: Any) -> None:
    with serving(handler) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            ask(channel)
        refused: KeptError = from_rpc_error(failed.value, "logging")
        assert refused.reason == Reason.REASON_MALFORMED_MESSAGE


@each_kind
def test_what_comes_after_the_one_message_is_not_looked_at(handler: Any) -> None:
    with serving(handler) as channel:
        assert ask(channel, b"one", b"two") == b"one"


def test_a_method_may_take_longer_than_its_caller_may_be_silent(silent: Callable[..., Any]) -> None:
    begun, leave = threading.Event(), threading.Event()

    def slow(request: bytes, _context: Any) -> bytes:
        begun.set()
        leave.wait(20)
        return request

    with serving(grpc.unary_unary_rpc_method_handler(slow), SHORT) as channel:
        answered = channel.unary_unary(ONCE, bytes, bytes).future(b"well", timeout=20, metadata=GATEWAY)
        assert begun.wait(20)
        assert silent(channel, GATEWAY).exception(20).code() is grpc.StatusCode.CANCELLED
        leave.set()
        assert answered.result(20) == b"well"


def test_a_stream_of_requests_may_be_silent_as_long_as_it_likes(silent: Callable[..., Any]) -> None:
    more = threading.Event()

    def sent() -> Iterator[bytes]:
        yield b"one"
        more.wait(20)
        yield b"two"

    with serving(ONE_MESSAGE["answers once"], SHORT) as channel:
        answers: Any = channel.stream_stream(STREAM, bytes, bytes)(sent(), timeout=20, metadata=GATEWAY)
        assert next(answers) == b"one"
        assert silent(channel, GATEWAY).exception(20).code() is grpc.StatusCode.CANCELLED
        more.set()
        assert list(answers) == [b"two"]


@pytest.mark.parametrize("method", [OPEN_ONCE, OPEN_STREAM])
def test_strangers_at_what_is_open_to_them_keep_nobody_else_waiting(
    silent: Callable[..., Any], method: str
) -> None:
    with serving(ONE_MESSAGE["answers once"], LONG) as channel:
        strangers = [silent(channel, method=method) for _ in range(4 * THREADS)]
        assert ask(channel, b"well") == b"well"
        stream: Any = channel.stream_stream(STREAM, bytes, bytes)
        assert list(stream(iter([b"well"]), timeout=20, metadata=GATEWAY)) == [b"well"]
        assert not any(call.done() for call in strangers), "and that while all of them are silent"


@pytest.mark.parametrize("method", [OPEN_ONCE, OPEN_STREAM])
def test_too_many_strangers_are_told_so(silent: Callable[..., Any], method: str) -> None:
    most = THREADS // 2 * CALLS_PER_WORKER
    with serving(ONE_MESSAGE["answers once"], LONG) as channel:
        strangers = [silent(channel, method=method) for _ in range(most)]
        refused = from_rpc_error(silent(channel, method=method).exception(20), "logging")
        assert refused.reason == Reason.REASON_OVERLOADED
        assert refused.retry_after is not None
        assert not any(call.done() for call in strangers)


def test_a_strangers_stream_of_requests_is_ended_when_it_falls_silent() -> None:
    leave = threading.Event()

    def sent() -> Iterator[bytes]:
        yield b"one"
        leave.wait(60)

    with serving(ONE_MESSAGE["answers once"], SHORT) as channel:
        answers: Any = channel.stream_stream(OPEN_STREAM, bytes, bytes)(sent(), timeout=20)
        assert next(answers) == b"one"
        with pytest.raises(grpc.RpcError) as ended:
            next(answers)
        leave.set()
        assert ended.value.code() is grpc.StatusCode.CANCELLED


def test_nothing_is_decided_for_a_caller_who_left_before_a_thread_was_free() -> None:
    class Aborted(Exception):
        pass

    asked, context = mock.Mock(), mock.Mock()
    context.is_active.return_value = False
    context.abort_with_status.side_effect = Aborted
    handler = ONE_MESSAGE["answers once"]
    wrapped: Any = Pipeline(asked, asked).intercept_service(lambda _: handler, mock.Mock(method=ONCE))
    with pytest.raises(Aborted):
        wrapped.stream_unary(iter([wrapped.request_deserializer(b"well")]), context)
    assert asked.mock_calls == []


def test_a_watcher_that_could_not_be_started_is_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    silence, context = Silence(SHORT), mock.Mock()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(
            threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread"))
        )
        silence.next(iter([b"first"]), context)
    gone = threading.Event()
    context.cancel.side_effect = gone.set

    def until_ended() -> Iterator[bytes]:
        assert gone.wait(20)
        yield from ()

    with pytest.raises(KeptError) as ended:
        silence.next(until_ended(), context)
    assert ended.value.reason == Reason.REASON_DEADLINE_EXCEEDED

"""What every call goes through, before and after the method itself, on every transport.

In this order: the caller is identified; its kind must be declared; people and gateways are decided on by the service's authority; the
message is waited for, parsed (a malformed one is INVALID_ARGUMENT, not a fault of ours; one that its contract finds too large is not
parsed) and validated by its contract; the method runs; whatever goes wrong becomes a status with a reason. No exception's text leaves the
process.

To gRPC the requests of every method are a stream, also where the contract has one message: on the wire there is no difference, but for any
other method it has a thread wait for the message, as long as the caller likes, before anybody has asked who calls.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
import protovalidate
import structlog
from google.protobuf.message import Message

from shared.call_threads import CountedThreads, StreamPool, Workers, overloaded
from shared.callers import is_public, largest_request, require_kind
from shared.channels import within
from shared.errors import KeptError, Reason, to_status
from shared.identity import Caller, CallerKind, RefusedToken, with_correlation
from shared.ids import new_id
from shared.redaction import where
from shared.service import CallerAuthority, Gate, Refused
from shared.silence import Silence
from shared.telemetry import CALLS, RPC_REFUSED
from shared.tracing import served
from shared.unparsed import Unparsed, parser_of

_log = structlog.get_logger(__name__)
_OURS: Final = "kept."
_HEALTH: Final = "/grpc.health.v1.Health/"
# Of a larger request the first fault is told and no other: a violation takes 2,600 times as much room as the two bytes that it may be of.
_ALL_FAULTS_BYTES: Final = 4096

if TYPE_CHECKING:
    _Interceptor = grpc.ServerInterceptor[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]
else:
    _Interceptor = grpc.ServerInterceptor
    _Handler = grpc.RpcMethodHandler

Identify = Callable[[grpc.ServicerContext], Caller]


class CallContext:
    """The context that methods get: gRPC's own, and who calls.

    Everything but `caller` is passed on to the transport's context; a stream is active no more once its process drains.
    """

    def __init__(
        self, inner: grpc.ServicerContext, caller: Caller, draining: threading.Event | None = None
    ) -> None:
        self._inner = inner
        self._draining = draining
        self.caller = caller
        # Whether the method was told to end because the process drains.
        self.ended_early = False

    def is_active(self) -> bool:
        """Whether the stream is to go on."""
        if self._draining is not None and self._draining.is_set():
            self.ended_early = True
            return False
        return bool(self._inner.is_active())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def caller_of(context: grpc.ServicerContext) -> Caller:
    """Who makes this call, as the pipeline found out. Raises UNAUTHENTICATED for a context that did not come through it."""
    if not isinstance(context, CallContext):
        raise KeptError(Reason.REASON_UNAUTHENTICATED, "The caller is not known.")
    return context.caller


class Pipeline(_Interceptor):
    """The pipeline of one port.

    identify: names the caller from certificate or token. authority: decides on people and gateways. long_streams: runs methods that
    answer with a stream, so that they never use up the threads of the others. refused, gate: see shared.service.Service. workers: run all
    other methods, and apart from them those that are open to strangers; when too many calls wait, one more is refused before anything is
    asked about it. silence: ends calls whose one message does not come, and strangers' streams of requests; without it they wait for ever.
    """

    def __init__(
        self,
        identify: Identify,
        authority: CallerAuthority,
        long_streams: StreamPool | None = None,
        refused: Refused | None = None,
        gate: Gate | None = None,
        workers: Workers | None = None,
        silence: Silence | None = None,
    ) -> None:
        self._gate = gate
        self._identify = identify
        self._authority = authority
        self._long_streams = long_streams
        self._refused = refused
        self._workers = workers
        self._silence = silence

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], _Handler | None],
        details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wraps the method's handler."""
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method
        behavior: Any = (
            (handler.stream_stream if handler.response_streaming else handler.stream_unary)
            if handler.request_streaming
            else (handler.unary_stream if handler.response_streaming else handler.unary_unary)
        )
        parse = parser_of(behavior, handler.request_deserializer)
        as_it_came = partial(Unparsed, parse=parse, largest=largest_request(method))
        # Health's Watch runs in a pool of its own or does not block one: a wrapper must not take that away.
        for name in ("experimental_non_blocking", "experimental_thread_pool"):
            if hasattr(behavior, name):
                return handler
        threads = self._threads(method, handler.response_streaming)
        if self._workers is not None and isinstance(threads, CountedThreads) and threads.are_full():
            return _too_many(method, self._workers.refusing)
        wrap: Callable[[str, Any, bool], Any] = (
            self._streaming if handler.response_streaming else self._answering
        )
        wrapped = wrap(method, behavior, handler.request_streaming)
        wrapped.experimental_thread_pool = threads
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return make(wrapped, as_it_came, handler.response_serializer)

    def _threads(self, method: str, streams: bool) -> ThreadPoolExecutor | None:
        """What a method runs in, None for whatever the server has. Strangers, who may come in any number, keep only each other waiting."""
        if self._workers is not None and is_public(method):
            return self._workers.health if method.startswith(_HEALTH) else self._workers.public
        if streams:
            return None if self._long_streams is None else self._long_streams.threads
        return self._workers

    def _answering(
        self, method: str, behavior: Callable[[Any, Any], Any], request_streaming: bool
    ) -> Callable[[Iterator[Unparsed], grpc.ServicerContext], Any]:
        def answer(requests: Iterator[Unparsed], context: grpc.ServicerContext) -> Any:
            call, correlation_id, code = CALLS.begin("unary", method), new_id("call"), "OK"
            with served(method, context) as seen:
                try:
                    caller = self._admit(method, context, correlation_id)
                    checked = (
                        _checked_stream(requests)
                        if request_streaming
                        else self._checked(caller, method, self._only(requests, context))
                    )
                    with within(context.time_remaining()):
                        return behavior(checked, CallContext(context, caller))
                except Exception as error:  # noqa: BLE001 - the one place that turns any failure into a status
                    failure = _as_kept(error, method, correlation_id, context)
                    code = failure.status.name
                    seen.failed(failure.status, failure.name, correlation_id)
                    _abort(context, failure, method, correlation_id)
                finally:
                    CALLS.end(call, code)

        return answer

    def _streaming(
        self, method: str, behavior: Callable[[Any, Any], Iterator[Any]], request_streaming: bool
    ) -> Callable[[Iterator[Unparsed], grpc.ServicerContext], Iterator[Any]]:
        streams = self._long_streams
        is_apart = self._workers is not None and is_public(method)
        places = None if is_apart else streams

        def stream(requests: Iterator[Unparsed], context: grpc.ServicerContext) -> Iterator[Any]:
            call, correlation_id, code = CALLS.begin("stream", method), new_id("call"), "OK"
            with served(method, context) as seen:
                try:
                    with ExitStack() as held:
                        if places is not None:
                            held.enter_context(places.place())
                        caller = self._admit(method, context, correlation_id)
                        if places is not None:
                            # All of a customer's people have one share: who fills it stops no other customer.
                            held.enter_context(places.share(caller.organization_id or caller.actor))
                        draining = None if streams is None else streams.draining
                        if is_apart and request_streaming and self._silence is not None:
                            requests = self._silence.each(requests, context)
                        checked = (
                            _checked_stream(requests, draining)
                            if request_streaming
                            else self._checked(caller, method, self._only(requests, context))
                        )
                        own = CallContext(context, caller, draining)
                        yield from behavior(checked, own)
                        if own.ended_early:
                            raise _shutting_down()
                except GeneratorExit:
                    code = ""
                    CALLS.left(call)
                    raise
                except Exception as error:  # noqa: BLE001 - as above
                    failure = _as_kept(error, method, correlation_id, context)
                    code = failure.status.name
                    seen.failed(failure.status, failure.name, correlation_id)
                    _abort(context, failure, method, correlation_id)
                finally:
                    if code:
                        CALLS.end(call, code)

        return stream

    def _only(self, requests: Iterator[Unparsed], context: grpc.ServicerContext) -> Unparsed:
        """The message of a call that has one. Whatever comes after it is not read."""
        message = next(requests, None) if self._silence is None else self._silence.next(requests, context)
        if message is None:
            raise KeptError(Reason.REASON_MALFORMED_MESSAGE, "No message came; this method takes one.")
        return message

    def _checked(self, caller: Caller, method: str, request: Unparsed) -> Any:
        """The request, if its contract allows it; if not, whoever wants to know of people's mistakes is told before they are."""
        try:
            return _checked(request)
        except KeptError as error:
            if self._refused is not None and caller.kind in (CallerKind.STAFF, CallerKind.CUSTOMER):
                self._refused(caller, method, error)
            raise

    def _admit(self, method: str, context: grpc.ServicerContext, correlation_id: str) -> Caller:
        if (
            not context.is_active()
        ):  # the call waited for a thread too long: nothing is decided, or written down, for nobody
            raise _left()
        try:
            identified = self._identify(context)
        except RefusedToken as error:
            if self._refused is not None:
                self._refused(error.caller, method, error)
            raise
        caller = with_correlation(identified, correlation_id)
        require_kind(caller, method)
        if self._gate is not None:
            self._gate.require()
        if caller.kind is CallerKind.GATEWAY and not is_public(method):
            caller = self._authority.authorize_gateway(caller, method)
        elif caller.kind in (CallerKind.STAFF, CallerKind.CUSTOMER) and not is_public(method):
            caller = self._authority.authorize_person(caller, method)
        return caller


def _too_many(method: str, threads: ThreadPoolExecutor) -> _Handler:
    """Refuses a call, without waiting for a message of it."""

    def refuse(_: Any, context: grpc.ServicerContext) -> NoReturn:
        call, correlation_id = CALLS.begin("unary", method), new_id("call")
        failure = overloaded("calls are waiting")
        with served(method, context) as seen:
            seen.failed(failure.status, failure.name, correlation_id)
            CALLS.end(call, failure.status.name)
            _abort(context, failure, method, correlation_id)

    refuse.experimental_thread_pool = threads  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(refuse)


def _checked(arrived: Unparsed) -> Any:
    """The request, if its contract allows it."""
    request = arrived.parsed()
    # Contracts that are not ours (OTLP, health) hold no rules; looking for them costs 13 µs for each span.
    if isinstance(request, Message) and request.DESCRIPTOR.full_name.startswith(_OURS):
        violations = protovalidate.collect_violations(request, fail_fast=True)
        if violations:
            if request.ByteSize() <= _ALL_FAULTS_BYTES:
                violations = protovalidate.collect_violations(request)
            raise KeptError(
                Reason.REASON_INVALID_ARGUMENT,
                "Some fields are not valid; nothing was changed.",
                fields=[(field_path(violation), violation.proto.message) for violation in violations[:20]],
            )
    return request


def field_path(violation: protovalidate.Violation) -> str:
    """Where a violation is, such as "data.record_ids[3]". Keys of maps are the caller's content and are left out."""
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value}]" if element.subscript.field == "index" else "[key]"
    return path or "(message)"


def _checked_stream(requests: Iterator[Unparsed], draining: threading.Event | None = None) -> Iterator[Any]:
    for request in requests:
        # What was answered stays; what was not is sent again, to a process that stays.
        if draining is not None and draining.is_set():
            raise _shutting_down()
        yield _checked(request)


def _shutting_down() -> KeptError:
    return KeptError(
        Reason.REASON_SHUTTING_DOWN,
        "This process is going; another answers.",
        retry_after=timedelta(milliseconds=100),
    )


def _left() -> KeptError:
    return KeptError(Reason.REASON_DEADLINE_EXCEEDED, "The caller left.")


def _as_kept(error: Exception, method: str, correlation_id: str, context: grpc.ServicerContext) -> KeptError:
    if isinstance(error, KeptError):
        return error
    if (
        isinstance(error, grpc.RpcError) and not context.is_active()
    ):  # the caller's stream broke off while it was read
        return _left()
    _log.error(
        "call.crashed",
        method=method,
        correlation_id=correlation_id,
        error=type(error).__name__,
        where=where(error, places=5),
    )
    return KeptError(Reason.REASON_INTERNAL, "Something went wrong on our side.")


def _abort(context: grpc.ServicerContext, error: KeptError, method: str, correlation_id: str) -> NoReturn:
    RPC_REFUSED.labels(method, error.name).inc()
    _log.info("call.refused", method=method, reason=error.name, correlation_id=correlation_id)
    context.abort_with_status(to_status(error, correlation_id))
    raise AssertionError("abort returns never")

"""A service without a network: its servicers behind the same pipeline, called through a channel that makes no thread and no socket.

Messages are serialized on the way in and out, as on a wire. The simulation and unit tests stand on it; `before`/`after` let them lose
calls and answers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import grpc

from shared.channels import TypedCalls
from shared.errors import KeptError, Reason, to_status
from shared.identity import Caller
from shared.pipeline import Pipeline
from shared.service import Service


class _Ended(grpc.RpcError, grpc.Call):
    """A call that ended with a status."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__()
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return str(self._status.details)

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Any) -> bool:
        return False


class _Context:
    """What a method may ask of its context."""

    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = tuple(metadata)
        self._active = True
        self._callbacks: list[Callable[[], None]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "in-process"

    def abort_with_status(self, status: grpc.Status) -> None:
        self._active = False
        raise _Ended(status)

    def is_active(self) -> bool:
        return self._active

    def time_remaining(self) -> float | None:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self._callbacks.append(callback)
        return self._active

    def cancel(self) -> None:
        self._active = False

    def end(self) -> None:
        """The call is over."""
        self._active = False
        for callback in self._callbacks:
            callback()
        self._callbacks.clear()


class InProcess:
    """One service, called directly.

    before, after: called with the method's name around each unary call; what they raise is what the caller gets.
    """

    def __init__(
        self,
        service: Service,
        *,
        before: Callable[[str], None] | None = None,
        after: Callable[[str], None] | None = None,
    ) -> None:
        self.service = service
        self._before = before
        self._after = after
        self._handlers: list[Any] = []
        service.register(self)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """Called by generated code."""
        self._handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        """Called by generated code, for the handlers that the generic ones hold already."""

    def channel(self, caller: Caller, name: str = "service") -> grpc.Channel:
        """A channel on which every call is `caller`'s: what certificate or token would have proven. `name` is for error texts."""
        return TypedCalls(
            name,
            lambda: _Direct(
                self,
                Pipeline(
                    lambda _: caller,
                    self.service.authority,
                    refused=self.service.refused,
                    gate=self.service.gate,
                ),
            ),
        )

    def handler(self, pipeline: Pipeline, method: str, metadata: Sequence[tuple[str, str]]) -> Any:
        """The handler of a method, wrapped. Raises RpcError UNIMPLEMENTED."""

        class Details:
            def __init__(self) -> None:
                self.method = method
                self.invocation_metadata = tuple(metadata)

        for generic in self._handlers:
            found = pipeline.intercept_service(generic.service, Details())  # type: ignore[arg-type]
            if found is not None:
                return found
        unknown = KeptError(
            Reason.REASON_CALLER_NOT_ALLOWED, "There is no such method.", metadata={"method": method}
        )
        raise _Ended(to_status(unknown, "call_unknown"))

    def around(self, method: str, call: Callable[[], Any]) -> Any:
        """Runs a unary call between the two hooks."""
        if self._before is not None:
            self._before(method)
        answer = call()
        if self._after is not None:
            self._after(method)
        return answer


class _Direct(grpc.Channel):
    def __init__(self, server: InProcess, pipeline: Pipeline) -> None:
        self._server = server
        self._pipeline = pipeline

    def _call(
        self, method: str, serializer: Any, deserializer: Any, request_streaming: bool, streaming: bool
    ) -> Any:
        def invoke(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            handler = self._server.handler(self._pipeline, method, metadata or ())
            context = _Context(metadata or ())
            arrived = (
                (handler.request_deserializer(serializer(item)) for item in request)
                if request_streaming
                else iter([handler.request_deserializer(serializer(request))])
            )
            # Of the pipeline's handlers: the requests of every method are a stream to it.
            behavior: Any = handler.stream_stream if streaming else handler.stream_unary
            if streaming:
                return _Answers(
                    behavior(arrived, context), context, handler.response_serializer, deserializer
                )
            try:
                answer = self._server.around(method, lambda: behavior(arrived, context))
            finally:
                context.end()
            return deserializer(handler.response_serializer(answer))

        return invoke

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        return self._call(method, request_serializer, response_deserializer, False, False)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        return self._call(method, request_serializer, response_deserializer, False, True)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        return self._call(method, request_serializer, response_deserializer, True, False)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        *_: Any,
        **__: Any,
    ) -> Any:
        return self._call(method, request_serializer, response_deserializer, True, True)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """There is no connection to watch."""

    def unsubscribe(self, callback: Any) -> None:
        """There is no connection to watch."""

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Answers:
    """The answers of a streaming method, made as they are asked for."""

    def __init__(self, answers: Iterator[Any], context: _Context, serializer: Any, deserializer: Any) -> None:
        self._answers = answers
        self._context = context
        self._serializer = serializer
        self._deserializer = deserializer

    def __iter__(self) -> "_Answers":
        return self

    def __next__(self) -> Any:
        try:
            return self._deserializer(self._serializer(next(self._answers)))
        except BaseException:
            self._context.end()
            raise

    def cancel(self) -> None:
        self._context.end()
        self._answers.close()  # type: ignore[attr-defined]

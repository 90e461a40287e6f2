"""Calls between simulated processes: the real pipeline and the real messages, without a socket."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from shared.channels import TypedCalls
from shared.errors import peer_unavailable
from shared.identity import Caller
from tests.simulation.faults import Crash

if TYPE_CHECKING:
    from tests.simulation.world import World


def channel(world: "World", process: Callable[[], str], caller: Callable[[], Caller]) -> grpc.Channel:
    """A channel to a process, as it is when the call is made: it may have died and come back since the last one."""
    return TypedCalls(process(), lambda: _Routed(world, process(), caller()))


class _Routed(grpc.Channel):
    def __init__(self, world: "World", process: str, caller: Caller) -> None:
        self._world = world
        self._process = process
        self._inner = world.processes[process].server.channel(caller, process)

    def _unary(self, make: Any, *args: Any, **kwargs: Any) -> Any:
        call = make(*args, **kwargs)

        def invoke(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            if self._world.faults.is_lost():
                raise peer_unavailable(self._process)
            try:
                answer = call(request, timeout=timeout, metadata=metadata)
            except Crash as crash:
                if crash.process != self._process:
                    raise
                self._world.restart(self._process)
                raise peer_unavailable(self._process) from None
            if self._world.faults.is_lost():
                raise peer_unavailable(self._process)
            return answer

        return invoke

    def _stream(self, make: Any, *args: Any, **kwargs: Any) -> Any:
        call = make(*args, **kwargs)

        def invoke(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            if self._world.faults.is_lost():
                raise peer_unavailable(self._process)
            return _Answers(self._world, self._process, call(request, timeout=timeout, metadata=metadata))

        return invoke

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._unary(self._inner.unary_unary, *args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._unary(self._inner.stream_unary, *args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._stream(self._inner.unary_stream, *args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._stream(self._inner.stream_stream, *args, **kwargs)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """There is no connection to watch."""

    def unsubscribe(self, callback: Any) -> None:
        """There is no connection to watch."""

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Answers:
    def __init__(self, world: "World", process: str, inner: Any) -> None:
        self._world = world
        self._process = process
        self._inner = inner

    def __iter__(self) -> "_Answers":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._inner)
        except Crash as crash:
            if crash.process != self._process:
                raise
            self._world.restart(self._process)
            raise peer_unavailable(self._process) from None

    def cancel(self) -> None:
        self._inner.cancel()

"""Calls between simulated processes: the real pipeline and the real messages, without a socket.

A call may be lost, its answer may be lost, it may arrive twice; the process that serves it may die before, in and after it; and the process
that made it may have died meanwhile, called back by the one that it called.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from shared.channels import TypedCalls
from shared.errors import KeptError, Reason, peer_unavailable
from shared.identity import Caller
from tests.simulation.faults import Broken, Crash

if TYPE_CHECKING:
    from tests.simulation.world import World


def channel(
    world: "World", process: Callable[[], str], caller: Callable[[], Caller], origin: str | None = None
) -> grpc.Channel:
    """A channel to a process, as it is when the call is made: it may have died and come back since the last one. origin: the process that
    calls; None for people and gateways."""
    return TypedCalls("peer", lambda: _Routed(world, process(), caller(), origin))


class _Routed(grpc.Channel):
    """One call's way to a process."""

    def __init__(self, world: "World", process: str, caller: Caller, origin: str | None) -> None:
        self._world = world
        self._process = process
        self._origin = origin
        self._origin_lives = world.lives(origin)
        self._inner = world.processes[process].server.channel(caller, process)

    def _unary(self, make: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        call = make(method, *args, **kwargs)

        def invoke(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            faults = self._world.faults
            self._maybe_lost(method)
            answer = self._served(method, lambda: call(request, timeout=timeout, metadata=metadata))
            if faults.is_doubled():
                self._world.note("doubled", method)
                again = self._served(method, lambda: call(request, timeout=timeout, metadata=metadata))
                answer = again if faults.one_of_two() else answer
            self._maybe_lost(method)
            return answer

        return invoke

    def _stream(self, make: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        call = make(method, *args, **kwargs)

        def invoke(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            self._maybe_lost(method)
            answers = call(request, timeout=timeout, metadata=metadata)
            lives = self._world.lives(self._process)
            return _Answers(self, method, answers, lives)

        return invoke

    def _maybe_lost(self, method: str) -> None:
        if self._world.is_cut_off(self._origin) or self._world.faults.is_lost():
            self._world.note("lost", method)
            raise peer_unavailable(self._process)

    def _served(self, method: str, call: Callable[[], Any]) -> Any:
        """Runs a piece of the method in the process that serves it; whatever dies is replaced. Raises Crash when it was the caller."""
        world = self._world
        lives = world.lives(self._process)
        try:
            world.step(self._process, lives)
            answer = call()
            world.step(self._process, lives)
        except Crash as crash:
            if crash.process != self._process:
                raise
            world.restart(crash)
            raise peer_unavailable(self._process) from None
        except KeptError as error:
            world.note("refused", method, error.name)
            if error.reason == Reason.REASON_INTERNAL:
                raise Broken(f"(none): {method} failed inside {self._process}") from error
            raise
        world.note("answered", method, self._process)
        if self._origin is not None and world.lives(self._origin) != self._origin_lives:
            raise Crash(self._origin, self._origin_lives)
        return answer

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
    """A stream's answers. It breaks when the process that serves it dies."""

    def __init__(self, routed: _Routed, method: str, inner: Any, lives: int) -> None:
        self._routed = routed
        self._method = method
        self._inner = inner
        self._lives = lives

    def __iter__(self) -> "_Answers":
        return self

    def __next__(self) -> Any:
        routed = self._routed
        if routed._world.lives(routed._process) != self._lives:
            raise peer_unavailable(routed._process)
        routed._maybe_lost(self._method)
        return routed._served(self._method, lambda: next(self._inner))

    def cancel(self) -> None:
        self._inner.cancel()

"""The threads that calls run in, how many of them may be there at once, and what the one too many is told: to come again, and when.

gRPC has a limit of its own, and says less: its bare RESOURCE_EXHAUSTED has no delay, without which an OpenTelemetry Collector gives up
for good what it was to send.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Final, ParamSpec, TypeVar

from shared.errors import KeptError, Reason

# Calls that a thread of the workers has, or that wait for it.
CALLS_PER_WORKER: Final = 16
P = ParamSpec("P")
R = TypeVar("R")


def overloaded(what: str) -> KeptError:
    """There is too much of something; `what` says of what."""
    return KeptError(
        Reason.REASON_OVERLOADED, f"Too many {what}; retry later.", retry_after=timedelta(seconds=2)
    )


class CountedThreads(ThreadPoolExecutor):
    """Threads that count the calls that they have: those that wait and those that run."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._most = threads * CALLS_PER_WORKER
        self._lock = threading.Lock()
        self._calls = 0

    def are_full(self) -> bool:
        """Whether they take no more. To be asked by the one thread that also submits, or more than the most may come in."""
        return self._calls >= self._most

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As any pool does."""
        future = super().submit(fn, *args, **kwargs)
        self._count(1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, more: int) -> None:
        with self._lock:
            self._calls += more


class Workers(CountedThreads):
    """Threads for methods that answer once.

    public: others, half as many, for what is open to strangers, whatever it answers with. health: a few for answering whether the process
    serves. refusing: a few that are kept for telling callers that the others have too many.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "call")
        self.public = CountedThreads(threads // 2, "public")
        self.health = CountedThreads(2, "health")
        self.refusing = ThreadPoolExecutor(2, thread_name_prefix="refuse")


class StreamPool:
    """Threads for methods that answer with a stream and are not open to strangers, apart from those of the others.

    At most `limit` streams are open; one more is refused at once, by one of a few threads that are kept for that. shares: so many callers
    it takes at least to fill them all. draining: set when those that would go on have to end.
    """

    def __init__(self, limit: int, shares: int = 1) -> None:
        self.draining = threading.Event()
        self._share = max(1, limit // shares)
        # A list of names, for the same reason as the queue of places.
        self._open: list[str] = []
        self.threads = ThreadPoolExecutor(limit + 4, thread_name_prefix="stream")
        # A queue of places, for what a finalizer gives back must wait for no lock (see CallCounts); this one's `put` does not.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(limit):
            self._free.put(None)

    def drain(self) -> None:
        """Ends streams that would go on for ever, each at its own next step, with SHUTTING_DOWN: the caller opens another elsewhere."""
        self.draining.set()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a stream. Raises OVERLOADED when all are taken."""
        try:
            self._free.get_nowait()
        except Empty:
            raise overloaded("streams are open") from None
        try:
            yield
        finally:
            self._free.put(None)

    @contextmanager
    def share(self, whose: str) -> Iterator[None]:
        """A place that is somebody's. Raises OVERLOADED when he has his share already: the others' are not his to take."""
        if self._open.count(whose) >= self._share:
            raise overloaded("streams of yours are open")
        self._open.append(whose)
        try:
            yield
        finally:
            self._open.remove(whose)

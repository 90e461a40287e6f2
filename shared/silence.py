"""How long a thread waits for what a caller is to send.

gRPC waits as long as the caller likes, and has a thread wait: a few callers who open calls and send nothing keep everybody else out. So
the pipeline lets a caller in before a thread waits for his message at all, and who is let in and stays silent is ended here.
"""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Final, TypeVar

import grpc

from shared.errors import KeptError, Reason

# A message of the largest size that the transport takes comes in this time over 7 Mbit/s; our own clients' calls end after as long.
LONGEST_SILENCE: Final = timedelta(seconds=10)
T = TypeVar("T")


class Silence:
    """Ends calls that wait too long for a message. One thread looks after all of them, begun with the first.

    What an ordinary call pays is to be put on a list and taken off: the thread sleeps until whoever waits longest would be due, is not
    woken by those who come later, and finds most of them gone. longest: how long a call may wait.
    """

    def __init__(self, longest: timedelta = LONGEST_SILENCE) -> None:
        self._longest = longest.total_seconds()
        self._changed = threading.Condition(threading.Lock())
        # When each is due, on the monotonic clock: all wait equally long, so whoever came first is due first.
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._watch: threading.Thread | None = None
        self._is_idle = False

    def next(self, requests: Iterator[T], context: grpc.ServicerContext) -> T | None:
        """The next message of this call; None when its caller has said that there are no more. Raises DEADLINE_EXCEEDED, or gRPC's own
        RpcError, when the call was ended because none came."""
        try:
            with self._changed:
                self._waiting[context] = time.monotonic() + self._longest
                if self._is_idle:
                    self._is_idle = False
                    self._changed.notify()
                elif self._watch is None:
                    watch = threading.Thread(target=self._look, name="silence", daemon=True)
                    watch.start()  # where the system has no thread left the next call tries again
                    self._watch = watch
            message = next(requests, None)
        finally:
            with self._changed:
                was_ended = self._waiting.pop(context, None) is None
        if was_ended:
            raise KeptError(Reason.REASON_DEADLINE_EXCEEDED, "No message came in time.")
        return message

    def each(self, requests: Iterator[T], context: grpc.ServicerContext) -> Iterator[T]:
        """The messages of a stream, none of which may be longer in coming. Raises as `next` does."""
        while (message := self.next(requests, context)) is not None:
            yield message

    def _look(self) -> None:
        with self._changed:
            while True:
                rest = self._end_overdue()
                self._is_idle = rest is None
                self._changed.wait(rest)

    def _end_overdue(self) -> float | None:
        """Seconds until the next is due; None when nobody waits."""
        now = time.monotonic()
        for context, due in list(self._waiting.items()):
            if due > now:
                return due - now
            # In this order, and both under the lock: a call that finds itself on the list has not been ended, and will not be.
            del self._waiting[context]
            context.cancel()  # type: ignore[no-untyped-call]
        return None

"""Calls that went out to a model, until LiteLLM says how they ended. It says nothing of a stream that its reader let go of, nor of a call
whose task was cancelled, although the model has the prompt; so each is remembered from before it goes out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

Call = Mapping[str, Any]


class OpenCalls:
    """Thread-safe and bounded. most: so many calls; of more the oldest is given up at once. within: seconds after which one is given up.
    clock: one that never goes back, in seconds. What is given up is returned, once, to be recorded as what it is by then."""

    def __init__(self, most: int, within: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._within = within
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[Hashable, tuple[float, Call]] = OrderedDict()

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def begin(self, key: Hashable, call: Call) -> None:
        """It goes out; under a key that is known already it goes out again."""
        with self._lock:
            self._calls[key] = self._clock(), call
            self._calls.move_to_end(key)

    def end(self, key: Hashable) -> None:
        """LiteLLM said how it ended."""
        with self._lock:
            self._calls.pop(key, None)

    def given_up(self, *, all_of_them: bool = False) -> list[Call]:
        """Those whose end is overdue, or that are too many."""
        found: list[Call] = []
        with self._lock:
            overdue = self._clock() - self._within if self._calls else 0.0
            while self._calls:
                begun, call = next(iter(self._calls.values()))
                if not (all_of_them or begun <= overdue or len(self._calls) > self._most):
                    break
                self._calls.popitem(last=False)
                found.append(call)
        return found

    def forget(self) -> None:
        """In a child of a fork: they are the parent's. Its lock may have been held there."""
        self._lock = threading.Lock()
        self._calls = OrderedDict()

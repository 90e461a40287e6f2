"""Calls that went out to a model, until LiteLLM says how they ended. It says nothing of a stream that its reader let go of, nor of a call
whose task was cancelled, although the model has the prompt; so each is remembered from before it goes out."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

Call = Mapping[str, Any]

# Values of one call that are looked at for its size. What is beyond them goes uncounted; so many take half a megabyte themselves.
_MOST_VALUES: Final = 20_000


class _Open(NamedTuple):
    begun: float
    size: int
    call: Call


class OpenCalls:
    """Thread-safe and bounded. most: so many calls, and most_bytes: of so many bytes, roughly; of more the oldest are given up at once.
    within: seconds after which one is given up. clock: one that never goes back, in seconds. What is given up is returned, once."""

    def __init__(self, most: int, most_bytes: int, within: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._within = within
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[Hashable, _Open] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def begin(self, key: Hashable, call: Call) -> None:
        """It goes out; under a key that is known already it goes out again."""
        size = rough_size(call)
        with self._lock:
            self._remove(key)
            self._calls[key] = _Open(self._clock(), size, call)
            self._bytes += size

    def end(self, key: Hashable) -> None:
        """LiteLLM said how it ended."""
        with self._lock:
            self._remove(key)

    def given_up(self, *, all_of_them: bool = False) -> list[Call]:
        """Those whose end is overdue, or that are too many or too large together."""
        found: list[Call] = []
        with self._lock:
            overdue = self._clock() - self._within if self._calls else 0.0
            while self._calls:
                key, oldest = next(iter(self._calls.items()))
                too_many = len(self._calls) > self._most or self._bytes > self._most_bytes
                if not (all_of_them or too_many or oldest.begun <= overdue):
                    break
                self._remove(key)
                found.append(oldest.call)
        return found

    def forget(self) -> None:
        """In a child of a fork: they are the parent's. Its lock may have been held there."""
        self._lock = threading.Lock()
        self._calls = OrderedDict()
        self._bytes = 0

    def _remove(self, key: Hashable) -> None:
        removed = self._calls.pop(key, None)
        if removed is not None:
            self._bytes -= removed.size


def rough_size(call: Call) -> int:
    """Bytes that a call takes in memory, each value once: its texts and what they are in. Soon done, however large the call is."""
    seen: set[int] = set()
    found: list[Any] = [call]
    size = 0
    within: Iterable[Any]
    while found and len(seen) < _MOST_VALUES:
        value = found.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        size += sys.getsizeof(value, 0)
        if isinstance(value, dict):
            within = value.values()
        elif isinstance(value, list | tuple):
            within = value
        elif hasattr(value, "model_dump"):  # a message as LiteLLM's own class has it
            within = getattr(value, "__dict__", {}).values()
        else:
            continue
        found.extend(islice(within, _MOST_VALUES - len(found)))
    return size

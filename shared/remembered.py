"""What was found out, kept in memory for the next time, within a bound."""

import threading
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key, so many at most: the oldest make room. For threads. Whether a value still holds is for its reader to see."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value, if it is remembered."""
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Remembers the value, as the newest."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]

"""Time, as something that is passed in.

Every decision takes its time from one injected `Clock`, so that thirty days pass in a test in milliseconds and a local stack can
travel. Leases and other spans are measured on `boottime`, which nobody steps (CLOCK_BOOTTIME: it runs on while the machine sleeps).
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

# How far two machines' clocks may be apart before one of them is treated as wrong (the epsilon of docs/leases.md).
CLOCK_TOLERANCE = timedelta(seconds=5)


class Clock(Protocol):
    """Where a process gets its time from."""

    def now(self) -> datetime:
        """The instant, timezone-aware, in UTC."""

    def boottime(self) -> float:
        """Seconds on a clock that never steps; only differences mean something."""

    def generation(self) -> int:
        """Grows whenever `now` was moved on purpose: whatever was measured in an older generation counts no more."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def generation(self) -> int:
        return 0


class TravellingClock:
    """The machine's clock plus an offset from a file, for the local stack only.

    The file is JSON, `{"generation": int, "offset_seconds": float}`, replaced by rename. It is looked at on every call (a stat), so
    that all processes of a stack travel in the same moment. A file that cannot be read raises OSError: no time is better than a
    wrong one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._offset = timedelta(0)
        self._generation = 0

    def _refresh(self) -> None:
        status = os.stat(self._path)
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            state = json.loads(self._path.read_text())
            self._offset = timedelta(seconds=float(state["offset_seconds"]))
            self._generation = int(state["generation"])
            self._seen = seen

    def now(self) -> datetime:
        self._refresh()
        return datetime.now(UTC) + self._offset

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def generation(self) -> int:
        self._refresh()
        return self._generation

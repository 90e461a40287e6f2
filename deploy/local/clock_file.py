"""The clock of a local stack, as the one who moves it sees it: an offset in a file that every process of it
watches.

`shared.clock.TravellingClock` reads the file and says what is in it. A new generation tells a process that
the clock has jumped, upon which it drops its leases.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from deploy.local import private_files
from deploy.local.errors import LocalStackError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# PostgreSQL, certificates of retention and people all deal with years of four digits.
_FARTHEST = timedelta(days=20 * 365)


class ClockFile:
    """The clock that lies in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Write a clock that shows real time, unless there is one."""
        if not self._path.exists():
            self._write(0, timedelta(0))

    def offset(self) -> timedelta:
        """How far the stack is ahead of real time."""
        return self._read()[1]

    def travel(self, by: timedelta) -> None:
        """Move the clock ahead, for every process of the stack at once; never back (LocalStackError)."""
        generation, offset = self._read()
        if by <= timedelta(0):
            raise LocalStackError("The clock travels forwards only: say how far, such as 30m or 31d.")
        if offset + by > _FARTHEST:
            raise LocalStackError("The clock travels at most 20 years in all: make a new stack with reset.")
        self._write(generation + 1, offset + by)

    def _read(self) -> tuple[int, timedelta]:
        content = json.loads(self._path.read_text())
        return int(content["generation"]), timedelta(seconds=float(content["offset_seconds"]))

    def _write(self, generation: int, offset: timedelta) -> None:
        content = {"generation": generation, "offset_seconds": offset.total_seconds()}
        private_files.write(self._path, json.dumps(content) + "\n")


def duration(text: str) -> timedelta:
    """A span as people write it: "31d", "30m", "1d12h". Raises LocalStackError for anything else."""
    parts = re.findall(r"(\d{1,6})([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise LocalStackError(f"{text!r} is no span of time: write it like 45s, 30m, 12h, 31d or 1d12h.")
    return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())

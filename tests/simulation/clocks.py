"""Time in a simulated world: one true clock, and what each process believes."""

from datetime import UTC, datetime, timedelta
from typing import Final

# How far, in seconds, a process's clock may be off: within the tolerance of shared.clock, and far beyond it.
STEPS: Final = (0.0, 0.0, 0.5, -0.5, 2.0, -2.0, 20.0, -20.0)
_FIRST_DAY: Final = datetime(2026, 1, 5, 0, 30, tzinfo=UTC)


class WorldTime:
    """The true time. Boottime runs with it; nobody steps either."""

    def __init__(self, now: datetime = _FIRST_DAY, boottime: float = 10_000.0) -> None:
        self.now = now
        self.boottime = boottime

    def advance(self, by: timedelta) -> None:
        """Time passes."""
        self.now += by
        self.boottime += by.total_seconds()


class ProcessClock:
    """A process's clock: the true one, and how far it is off."""

    def __init__(self, time: WorldTime) -> None:
        self._time = time
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self._time.now + self.skew

    def boottime(self) -> float:
        return self._time.boottime

    def generation(self) -> int:
        return 0

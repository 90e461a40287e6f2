"""Time in a simulated world: one true clock, and what each process believes."""

from datetime import UTC, datetime, timedelta


class WorldTime:
    """The true time. Boottime runs with it; nobody steps either."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 0, 30, tzinfo=UTC)
        self.boottime = 10_000.0

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

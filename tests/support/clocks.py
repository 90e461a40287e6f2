"""A clock that a test moves, and one beside it."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """now moves with `advance`, and by `tick` with each reading; `step` moves it without time passing, as a clock that is set does."""

    tick = timedelta()

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._now = start
        self._boottime = 1000.0
        self._generation = 0

    def now(self) -> datetime:
        self._now += self.tick
        return self._now

    def boottime(self) -> float:
        return self._boottime

    def generation(self) -> int:
        return self._generation

    def advance(self, by: timedelta) -> None:
        """Time passes."""
        self._now += by
        self._boottime += by.total_seconds()

    def step(self, by: timedelta) -> None:
        """The clock is set to another time."""
        self._now += by

    def travel(self, by: timedelta) -> None:
        """A local stack travels."""
        self._now += by
        self._generation += 1


class ClockBeside:
    """Another machine's clock, so far ahead of one that a test moves."""

    def __init__(self, clock: ManualClock, ahead: timedelta) -> None:
        self._clock = clock
        self._ahead = ahead

    def now(self) -> datetime:
        return self._clock.now() + self._ahead

    def boottime(self) -> float:
        return self._clock.boottime()

    def generation(self) -> int:
        return self._clock.generation()

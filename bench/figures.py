"""What a measurement is: a figure with a unit, and samples taken in turns.

These machines are shared and their speed drifts, so nothing is compared across runs: two things are timed in turns, A B A B, and the
median of the ratios pair by pair is the figure.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """name, value, unit: as issue texts and docs name it. detail: how it came about."""

    name: str
    value: float
    unit: str
    higher_is_better: bool
    detail: str

    def as_json(self) -> dict[str, object]:
        """One item of build/bench.json."""
        return asdict(self)


def seconds(work: Callable[[], object]) -> float:
    """How long one call of `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(
    first: Callable[[], object],
    second: Callable[[], object],
    rounds: int,
    between: Callable[[], object] = lambda: None,
) -> tuple[list[float], list[float]]:
    """Seconds of both, measured in turns; one round before is not counted. between: done after each round, and not counted."""
    pairs = []
    for _ in range(rounds + 1):
        pairs.append((seconds(first), seconds(second)))
        between()
    return [pair[0] for pair in pairs[1:]], [pair[1] for pair in pairs[1:]]


def median_ratio(over: list[float], under: list[float]) -> float:
    """The median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))

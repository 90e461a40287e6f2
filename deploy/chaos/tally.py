"""What callers saw: every call with its kind, when it began, how long it took, and how it ended."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

# Reasons that say "not for the moment": nothing was done, or it is safe to repeat. Callers who cannot be answered are told one of them.
PASSING: Final = frozenset(
    {
        "NOT_REACHABLE",
        "PEER_UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
        "KEY_STORE_UNAVAILABLE",
        "LEASE_LAPSED",
        "SHUTTING_DOWN",
        "OVERLOADED",
        "DEADLINE_EXCEEDED",
    }
)


@dataclass(frozen=True)
class Call:
    """One call as its caller saw it, its own retries included. began: on the monotonic clock. reason: empty when it was answered."""

    kind: str
    began: float
    seconds: float
    reason: str = ""

    @property
    def ended(self) -> float:
        """When its caller knew."""
        return self.began + self.seconds


@dataclass
class Tally:
    """All calls so far. For threads."""

    _calls: list[Call] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, call: Call) -> None:
        """One more."""
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def between(self, begin: float, end: float) -> list[Call]:
        """The calls that ended in a span of time."""
        with self._changed:
            return [call for call in self._calls if begin <= call.ended < end]

    def wait_answered(self, kinds: Iterable[str], since: float, patience: float) -> dict[str, float | None]:
        """For each kind, how long after `since` one was answered that began after it; None for what was not within `patience` seconds."""
        found: dict[str, float | None] = dict.fromkeys(kinds)

        def all_found() -> bool:
            for call in self._calls:
                if not call.reason and call.began >= since and found.get(call.kind, 0.0) is None:
                    found[call.kind] = call.ended - since
            return None not in found.values()

        with self._changed:
            self._changed.wait_for(all_found, timeout=max(0.0, since + patience - time.monotonic()))
        return found


@dataclass(frozen=True)
class Kind:
    """The calls of one kind in one span. Times in seconds; `longest_gap`: between the ends of two that were answered."""

    kind: str
    calls: int
    failed: int
    reasons: dict[str, int]
    median: float
    slowest: float
    longest_gap: float


def summarize(calls: Sequence[Call], begin: float, end: float) -> list[Kind]:
    """By kind, in order of name."""
    kinds = []
    for kind in sorted({call.kind for call in calls}):
        own = [call for call in calls if call.kind == kind]
        answered = sorted(call.ended for call in own if not call.reason)
        times = sorted(call.seconds for call in own if not call.reason) or [0.0]
        edges = [begin, *answered, end]
        kinds.append(
            Kind(
                kind,
                len(own),
                sum(bool(call.reason) for call in own),
                dict(Counter(call.reason for call in own if call.reason)),
                times[len(times) // 2],
                times[-1],
                max(later - earlier for earlier, later in itertools.pairwise(edges)),
            )
        )
    return kinds

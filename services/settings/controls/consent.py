"""When training was allowed: exact intervals, and the question that a release asks of them. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

from shared.clock import CLOCK_TOLERANCE

_RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True)
class ConsentEntry:
    """One entry of the history: the answer given, from the instant of its acceptance on."""

    training_allowed: bool
    accepted_at: datetime


@dataclass(frozen=True)
class ConsentInterval:
    """A stretch of time with one answer: from `begins`, included, to `ends`, excluded; None for the last one."""

    training_allowed: bool
    begins: datetime
    ends: datetime | None


def acceptance_instant(now: datetime, last: datetime | None) -> datetime:
    """When a change accepted now counts from: after the last one, even where the clock was stepped back. Two changes in one
    microsecond do not fall together either, so that an answer that was given is never an interval of no length."""
    return now if last is None else max(now, last + _RESOLUTION)


def intervals(history: Iterable[ConsentEntry]) -> list[ConsentInterval]:
    """The history, oldest entry first, as intervals without gaps; neighbours with the same answer are one."""
    merged: list[ConsentEntry] = []
    for entry in history:
        if merged and entry.accepted_at <= merged[-1].accepted_at:
            raise ValueError("the consent history is not in order")
        if not merged or merged[-1].training_allowed != entry.training_allowed:
            merged.append(entry)
    return [
        ConsentInterval(entry.training_allowed, entry.accepted_at, after.accepted_at if after else None)
        for entry, after in zip_longest(merged, merged[1:])  # nothing comes after the last
    ]


def allowed_throughout(known: Sequence[ConsentInterval], created_at: datetime, received_at: datetime) -> bool:
    """Whether a record that was created and received at these instants may be trained on by this history: one interval of consent
    covers [created_at - ε, received_at + ε], where ε is how far clocks may be apart. Nothing before the first entry is allowed."""
    first = min(created_at, received_at) - CLOCK_TOLERANCE
    last = max(created_at, received_at) + CLOCK_TOLERANCE
    return any(
        interval.training_allowed
        and interval.begins <= first
        and (interval.ends is None or last < interval.ends)
        for interval in known
    )

"""When a record may be trained on: a table of cases, and the order of the history."""

from datetime import UTC, datetime, timedelta

import pytest

from services.settings.controls.consent import (
    ConsentEntry,
    ConsentInterval,
    acceptance_instant,
    allowed_throughout,
    intervals,
)
from shared.clock import CLOCK_TOLERANCE

T = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
# Allowed from the first hour to the second, and again from the third on.
ON_OFF_ON = intervals(
    [ConsentEntry(True, T + HOUR), ConsentEntry(False, T + 2 * HOUR), ConsentEntry(True, T + 3 * HOUR)]
)


@pytest.mark.parametrize(
    ("created", "received", "allowed"),
    [
        (T, T, False),  # before the first entry
        (T + HOUR, T + HOUR + HOUR / 2, False),  # at the first entry, but clocks differ by ε
        (T + HOUR + CLOCK_TOLERANCE, T + HOUR + HOUR / 2, True),
        (T + HOUR + CLOCK_TOLERANCE - TICK, T + HOUR + HOUR / 2, False),
        (
            T + HOUR + HOUR / 2,
            T + 2 * HOUR - CLOCK_TOLERANCE,
            False,
        ),  # receipt + ε falls on the end, which is excluded
        (T + HOUR + HOUR / 2, T + 2 * HOUR - CLOCK_TOLERANCE - TICK, True),
        (T + 2 * HOUR + HOUR / 2, T + 2 * HOUR + HOUR / 2, False),  # off
        (T + HOUR + HOUR / 2, T + 3 * HOUR + HOUR / 2, False),  # both ends allowed, not what lies between
        (T + 4 * HOUR, T + 5 * HOUR, True),
        (
            T + 3 * HOUR + HOUR / 2,
            T + 3 * HOUR,
            False,
        ),  # created "after" receipt: what lies between counts the same
    ],
)
def test_allowed_throughout(created: datetime, received: datetime, allowed: bool) -> None:
    assert allowed_throughout(ON_OFF_ON, created, received) is allowed


def test_no_history_allows_nothing() -> None:
    assert intervals([]) == []
    assert not allowed_throughout([], T, T)


def test_intervals_have_no_gaps_and_join_equal_neighbours() -> None:
    history = [
        ConsentEntry(True, T),
        ConsentEntry(True, T + HOUR),
        ConsentEntry(False, T + 2 * HOUR),
        ConsentEntry(False, T + 3 * HOUR),
    ]
    assert intervals(history) == [
        ConsentInterval(True, T, T + 2 * HOUR),
        ConsentInterval(False, T + 2 * HOUR, None),
    ]


def test_a_history_out_of_order_is_no_history() -> None:
    with pytest.raises(ValueError, match="order"):
        intervals([ConsentEntry(True, T), ConsentEntry(False, T)])


def test_an_answer_never_counts_from_before_the_last_one() -> None:
    assert acceptance_instant(T, None) == T
    assert acceptance_instant(T + HOUR, T) == T + HOUR
    assert acceptance_instant(T - HOUR, T) == T + TICK, "a clock that was stepped back"
    assert acceptance_instant(T, T) == T + TICK, "off and on in one instant leaves a trace"

"""The stack's clock moves forwards only, and every process sees it move."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.clock_file import ClockFile, duration
from deploy.local.errors import LocalStackError
from shared.clock import SystemClock, TravellingClock


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("31d", timedelta(days=31)),
        ("1d12h", timedelta(days=1, hours=12)),
    ],
)
def test_spans_as_people_write_them(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "31", "d", "-1d", "1.5d", "31 d", "1w", "1d x", "1" * 9 + "d"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LocalStackError, match="31d"):
        duration(text)


def test_services_see_the_clock_travel_and_its_generation_grow(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    clock = ClockFile(path)
    clock.create()
    seen = TravellingClock(path)
    assert abs(seen.now() - SystemClock().now()) < timedelta(seconds=5)
    before = seen.generation()
    clock.travel(timedelta(days=31))
    clock.travel(timedelta(minutes=30))
    ahead = seen.now() - SystemClock().now() - timedelta(days=31, minutes=30)
    assert abs(ahead) < timedelta(seconds=5)
    assert seen.generation() == before + 2
    assert clock.offset() == timedelta(days=31, minutes=30)


def test_creating_the_clock_again_does_not_turn_it_back(tmp_path: Path) -> None:
    clock = ClockFile(tmp_path / "clock.json")
    clock.create()
    clock.travel(timedelta(days=1))
    clock.create()
    assert clock.offset() == timedelta(days=1)


@pytest.mark.parametrize("by", [timedelta(0), timedelta(days=-1), timedelta(days=40 * 365)])
def test_the_clock_goes_neither_back_nor_beyond_reason(tmp_path: Path, by: timedelta) -> None:
    clock = ClockFile(tmp_path / "clock.json")
    clock.create()
    with pytest.raises(LocalStackError):
        clock.travel(by)
    assert clock.offset() == timedelta(0)

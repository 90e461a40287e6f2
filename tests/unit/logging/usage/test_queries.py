"""What is shown of billing counts, and to whom."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from services.logging.reading import pages
from shared.errors import KeptError
from tests.unit.logging.peers import ENGINEER, NOON, ORG, OTHER, admin_of
from tests.unit.logging.usage.seen import HOUR, MIDNIGHT, billed, calls, question
from tests.unit.logging.world import World

NASTY = "a\u2028é|\"'%;--"


@pytest.fixture
def used(world: World) -> World:
    """Three hours over two days, two applications, two models."""
    for application in ("assistant", NASTY):
        for model in ("m-1", "m-2"):
            for age in (timedelta(hours=1), timedelta(hours=2), timedelta(hours=23)):
                made = world.interaction(age=age)
                made.application, made.model = application, model
                world.record(made)
    world.record(world.interaction(OTHER))
    return world


def reason_of(act: Any) -> KeptError:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value


def test_pages_go_through_all_in_order_whatever_the_names(used: World) -> None:
    everything = billed(used)
    assert len(everything) == calls(everything) == 12
    for size in (1, 5, 12):
        assert billed(used, page_size=size) == everything
    places = [(one.hour.ToDatetime(), one.application, one.model) for one in everything]
    assert len(set(places)) == 12
    assert [one[0] for one in places] == sorted(one[0] for one in places)


def test_pages_go_on_behind_the_longest_names(world: World) -> None:
    for number in range(2):
        made = world.interaction()
        made.application = made.model = "\U0001f600" * 199 + str(number)
        world.record(made)
    assert billed(world, page_size=1) == billed(world) != []


def test_days_are_sums_of_hours(used: World) -> None:
    days = billed(used, step=2, page_size=3)
    assert len(days) == 8
    assert [one.figures.calls for one in days] == [1] * 4 + [2] * 4
    assert {one.hour.ToDatetime() for one in days} == {
        (MIDNIGHT - timedelta(days=1)).replace(tzinfo=None),
        MIDNIGHT.replace(tzinfo=None),
    }


def test_filters_and_bounds(used: World) -> None:
    assert calls(billed(used, application=NASTY)) == 6
    assert calls(billed(used, application="assistant", model="m-2")) == 3
    assert calls(billed(used, application="")) == 0
    noon = NOON.replace(minute=0)
    assert calls(billed(used, begins=noon - HOUR, ends=noon)) == 4
    assert calls(billed(used, begins=noon - 2 * HOUR, ends=noon - HOUR)) == 4


def test_an_admin_sees_the_own_organization_and_no_other(used: World) -> None:
    assert calls(billed(used, OTHER, admin_of(OTHER))) == 1
    error = reason_of(lambda: billed(used, ORG, admin_of(OTHER)))
    assert error.name == "WRONG_ORGANIZATION"
    assert used.peers.calls.count("Check") == 2


def test_a_caller_whom_access_control_refuses_sees_nothing(used: World) -> None:
    used.peers.down.add("Check")
    assert reason_of(lambda: billed(used, caller=ENGINEER)).name == "PEER_UNAVAILABLE"


@pytest.mark.parametrize(
    ("begins", "ends", "step", "field"),
    [
        (NOON, NOON, 1, "until_hour"),
        (NOON, NOON - HOUR, 1, "until_hour"),
        (NOON, NOON + timedelta(days=92, hours=1), 1, "until_hour"),
        (NOON + timedelta(minutes=1), NOON + HOUR, 1, "from_hour"),
        (NOON, NOON + HOUR + timedelta(microseconds=1), 1, "until_hour"),
        (NOON, NOON + timedelta(days=1), 2, "from_hour"),
    ],
)
def test_spans_that_cannot_be_are_refused(
    world: World, begins: datetime, ends: datetime, step: int, field: str
) -> None:
    error = reason_of(lambda: billed(world, begins=begins, ends=ends, step=step))
    assert (error.name, [name for name, _ in error.fields]) == ("INVALID_ARGUMENT", [field])


def test_names_of_two_lines_are_refused(world: World) -> None:
    error = reason_of(lambda: billed(world, application="a\0b", model="two\nlines"))
    assert [name for name, _ in error.fields] == ["application", "model"]


def test_a_time_must_be_named(world: World) -> None:
    asked = question()
    asked.ClearField("until_hour")
    assert [name for name, _ in reason_of(lambda: world.usage().QueryUsage(asked)).fields] == ["until_hour"]


@pytest.mark.parametrize(
    "position",
    [
        "1",
        "[1]",
        '[1, "a"]',
        '["1", "a", "b"]',
        '[1, "a", 2]',
        '[-1, "a", "b"]',
        '[true, "a", "b"]',
        '[1e3, "a", "b"]',
        '[99999999999999, "a", "b"]',
        '[1, "a\\u0000", "b"]',
        '[1, "a\\ud800", "b"]',
        "[" * 2000,
        '{"a": 1}',
    ],
)
def test_tokens_that_this_list_did_not_give_are_refused(world: World, position: str) -> None:
    token = pages.encode(position.encode())
    error = reason_of(lambda: world.usage().QueryUsage(question(page_token=token)))
    assert (error.name, [name for name, _ in error.fields]) == ("INVALID_ARGUMENT", ["page_token"])

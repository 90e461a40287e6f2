"""Less than was asked for, never more."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.narrowing import Narrowing
from services.access_control.grants.scope import DataScope
from shared.errors import KeptError
from shared.ids import new_record_id
from tests.unit.access_control.grants.test_grants import ASKED, HOUR, NOW, ORG, TICK

MASKED, FULL, METADATA = grants_pb2.DETAIL_MASKED, grants_pb2.DETAIL_FULL, grants_pb2.DETAIL_METADATA
INSIDE, OUTSIDE = new_record_id(NOW - HOUR), new_record_id(NOW - 3 * HOUR)
SPAN = DataScope(ORG, MASKED, 10, NOW - 2 * HOUR, NOW)
REQUEST = replace(ASKED, data=SPAN)


@pytest.mark.parametrize(
    ("narrowing", "becomes"),
    [
        (Narrowing(detail=METADATA), replace(SPAN, detail=METADATA)),
        (Narrowing(budget=1), replace(SPAN, budget=1)),
        (Narrowing(start=NOW - HOUR), replace(SPAN, start=NOW - HOUR)),
        (Narrowing(until=NOW - HOUR), replace(SPAN, until=NOW - HOUR)),
        (Narrowing(record_ids=frozenset({INSIDE})), replace(SPAN, record_ids=frozenset({INSIDE}))),
        (Narrowing(duration=HOUR / 2), SPAN),
    ],
)
def test_less_is_granted_and_what_was_asked_for_is_kept(narrowing: Narrowing, becomes: DataScope) -> None:
    narrowed = narrowing.of(REQUEST)

    assert narrowed.data == becomes
    assert narrowed.duration == (narrowing.duration or HOUR)
    assert narrowed.asked == (SPAN, HOUR)


def test_the_same_is_no_narrowing() -> None:
    same = Narrowing(MASKED, 10, HOUR, SPAN.start, SPAN.until)

    assert same.of(REQUEST) == REQUEST


def test_what_was_asked_for_first_is_kept_through_a_second_narrowing() -> None:
    twice = Narrowing(budget=2).of(Narrowing(budget=5).of(REQUEST))

    assert twice.data == replace(SPAN, budget=2)
    assert twice.asked == (SPAN, HOUR)


@pytest.mark.parametrize(
    ("narrowing", "field"),
    [
        (Narrowing(detail=FULL), "narrowing.detail"),
        (Narrowing(budget=11), "narrowing.budget"),
        (Narrowing(duration=HOUR + TICK), "narrowing.duration"),
        (Narrowing(start=NOW - 2 * HOUR - TICK), "narrowing.from"),
        (Narrowing(until=NOW + TICK), "narrowing.until"),
        (Narrowing(start=NOW - HOUR, until=NOW - HOUR), "data.until"),
        (Narrowing(record_ids=frozenset({OUTSIDE})), "narrowing.record_ids"),
        (Narrowing(record_ids=frozenset({INSIDE, OUTSIDE})), "narrowing.record_ids"),
        (Narrowing(start=NOW - HOUR / 2, record_ids=frozenset({INSIDE})), "narrowing.record_ids"),
        (Narrowing(record_ids=frozenset({bytes(16)})), "narrowing.record_ids"),
    ],
)
def test_more_is_refused_by_the_name_of_its_field(narrowing: Narrowing, field: str) -> None:
    with pytest.raises(KeptError) as refused:
        narrowing.of(REQUEST)

    assert [name for name, _ in refused.value.fields] == [field]


def test_a_list_is_narrowed_to_a_part_of_itself_alone() -> None:
    other = new_record_id(NOW - HOUR)
    listed = replace(ASKED, data=replace(SPAN, record_ids=frozenset({INSIDE, other})))

    assert Narrowing(record_ids=frozenset({INSIDE})).of(listed).data == replace(
        SPAN, record_ids=frozenset({INSIDE})
    )
    with pytest.raises(KeptError):
        Narrowing(record_ids=frozenset({new_record_id(NOW - HOUR)})).of(listed)


def test_a_power_can_be_made_shorter_and_nothing_else() -> None:
    power = replace(ASKED, data=None, power=roles_pb2.POWER_OPERATOR, purpose=grants_pb2.PURPOSE_UNSPECIFIED)

    assert Narrowing(duration=timedelta(minutes=5)).of(power).duration == timedelta(minutes=5)
    with pytest.raises(KeptError):
        Narrowing(budget=1).of(power)


def test_what_a_service_screens_stays_in_full() -> None:
    screening = replace(
        ASKED, data=replace(SPAN, detail=FULL, permission=grants_pb2.SERVICE_PERMISSION_SCREENING)
    )

    with pytest.raises(KeptError):
        Narrowing(detail=MASKED).of(screening)

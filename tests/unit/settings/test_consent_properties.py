"""Training consent, whatever the history and whatever the clocks: what is eligible was allowed throughout, and nothing is by accident."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kept.settings.v1 import data_controls_pb2, policies_pb2
from services.settings.controls.consent import (
    ConsentEntry,
    ConsentInterval,
    acceptance_instant,
    allowed_throughout,
    intervals,
)
from shared.clock import CLOCK_TOLERANCE
from tests.unit.settings.world import World

T = datetime(2026, 3, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
# Half a second is a unit: small enough to fall on both sides of the tolerance, large enough to fall on its edge often.
UNIT = timedelta(milliseconds=500)
_units = st.integers(-20, 160).map(lambda number: number * UNIT)
# What two healthy clocks may differ by, split between them; a microsecond is left for answers that are given in the same one.
_healthy = st.integers(-5, 5).map(lambda number: number * (UNIT - TICK))
# Answers, each so long after the one before, given to a process of settings whose clock is so wrong.
_answers = st.lists(
    st.tuples(st.booleans(), st.integers(0, 80).map(lambda number: number * UNIT), _healthy), max_size=8
)
Answer = tuple[bool, timedelta, timedelta]


def accepted(answers: Sequence[Answer]) -> tuple[list[tuple[datetime, bool]], list[ConsentInterval]]:
    """When each was truly given, and the history that settings makes of them."""
    truly: list[tuple[datetime, bool]] = []
    history: list[ConsentEntry] = []
    now = T
    for allowed, later, off in answers:
        now += later
        truly.append((now, allowed))
        history.append(
            ConsentEntry(allowed, acceptance_instant(now + off, history[-1].accepted_at if history else None))
        )
    return truly, intervals(history)


def allowed_at(answers: Sequence[tuple[datetime, bool]], instant: datetime) -> bool:
    """The newest answer by then; none is no."""
    given = [allowed for at, allowed in answers if at <= instant]
    return bool(given) and given[-1]


@given(_answers, _units, _units)
def test_eligible_is_what_every_instant_of_the_span_allows_and_nothing_else(
    answers: list[Answer], created: timedelta, received: timedelta
) -> None:
    _, known = accepted(answers)
    stated = [(interval.begins, interval.training_allowed) for interval in known]
    first = min(T + created, T + received) - CLOCK_TOLERANCE
    last = max(T + created, T + received) + CLOCK_TOLERANCE
    # Between two of these nothing changes.
    instants = [first, last, *(begins for begins, _ in stated if first <= begins <= last)]
    throughout = all(allowed_at(stated, instant) for instant in instants)

    assert allowed_throughout(known, T + created, T + received) is throughout


@given(_answers, st.integers(0, 160), st.integers(0, 40), _healthy, _healthy)
def test_clocks_that_differ_make_nothing_eligible(
    answers: list[Answer], created: int, later: int, gateway_off: timedelta, receiver_off: timedelta
) -> None:
    """A record made before training was allowed, or received after it was turned off, is not: by true time, which no process knows."""
    truly, known = accepted(answers)
    created_at = T + created * UNIT
    received_at = created_at + later * UNIT

    if allowed_throughout(known, created_at + gateway_off, received_at + receiver_off):
        instants = [created_at, received_at, *(at for at, _ in truly if created_at <= at <= received_at)]
        assert all(allowed_at(truly, instant) for instant in instants)


@given(_answers, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_record_that_comes_late_spans_all_that_was_answered_meanwhile(
    answers: list[Answer], late: timedelta
) -> None:
    truly, known = accepted([(True, timedelta(0), timedelta(0)), *answers])
    created_at = T + CLOCK_TOLERANCE

    if any(not allowed and at <= created_at + late for at, allowed in truly):
        assert not allowed_throughout(known, created_at, created_at + late)


@given(_answers, _units)
def test_off_counts_from_its_acceptance(answers: list[Answer], later: timedelta) -> None:
    truly, _ = accepted(answers)
    now = truly[-1][0] if truly else T
    _, known = accepted([*answers, (False, timedelta(seconds=1), timedelta(0))])
    off_at = now + timedelta(seconds=1)

    assert not allowed_throughout(known, now, max(off_at, off_at + later)), "received at or after it"
    if known[-1].begins == off_at:
        assert not allowed_throughout(known, off_at - CLOCK_TOLERANCE - UNIT, off_at - CLOCK_TOLERANCE)


@given(_answers)
def test_intervals_follow_each_other_without_a_gap_and_take_turns(answers: list[Answer]) -> None:
    _, known = accepted(answers)

    for before, after in pairwise(known):
        assert before.ends == after.begins
        assert before.begins < after.begins
        assert before.training_allowed is not after.training_allowed
    assert all(interval.ends is None for interval in known[-1:])


def test_the_history_says_so_from_the_answer_on_whatever_settings_clock_did(world: World) -> None:
    admin = world.admin()
    controls, policies = world.customer(admin).controls, world.peer("training").policies
    accepted_at = []
    for allowed, step in ((False, -3600), (True, 3600), (False, -7200)):
        world.clock.step(timedelta(seconds=step))
        asked = data_controls_pb2.GetDataControlsRequest(organization_id=admin.organization_id)
        shown = controls.GetDataControls(asked).controls
        change = controls.UpdateDataControls(
            data_controls_pb2.UpdateDataControlsRequest(
                organization_id=admin.organization_id, etag=shown.etag, training_allowed=allowed
            )
        ).change
        accepted_at.append(change.accepted_at.ToDatetime(tzinfo=UTC))
    answer = policies.GetConsentHistory(
        policies_pb2.GetConsentHistoryRequest(organization_id=admin.organization_id)
    )

    assert [interval.training_allowed for interval in answer.intervals] == [True, False, True, False]
    begun = [getattr(interval, "from").ToDatetime(tzinfo=UTC) for interval in answer.intervals]
    assert begun[1:] == accepted_at
    assert begun == sorted(set(begun))
    known = [
        ConsentInterval(
            interval.training_allowed,
            begins,
            interval.until.ToDatetime(tzinfo=UTC) if interval.HasField("until") else None,
        )
        for interval, begins in zip(answer.intervals, begun, strict=True)
    ]
    for instant in accepted_at:
        assert not allowed_throughout(known, instant, instant)

"""Any order of acts by anybody: whatever is refused changes nothing, and whatever is done keeps the rules."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing.cases import (
    APPEAL,
    DISMISSED,
    OPEN,
    UPHELD,
    Case,
    appeal,
    as_of,
    claim,
    confirm,
    decide,
    due,
    hand_on,
    reopen,
)
from services.safety_review.reviewing.reviewers import Reviewer, require_fit
from shared.errors import KeptError

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
LASTS: Final = timedelta(hours=8)
PEOPLE: Final = tuple(
    Reviewer(name, is_safety=True, is_legal=name in ("ada", "ben"))
    for name in ("ada", "ben", "cleo", "dan", "eve")
)
ACTS: Final = (
    "claim",
    "violation",
    "no violation",
    "confirm",
    "send back",
    "escalate",
    "refer",
    "appeal",
    "reopen",
)
STEPS: Final = st.lists(
    st.tuples(st.sampled_from(ACTS), st.sampled_from(PEOPLE), st.integers(0, 12 * 60)), max_size=40
)


def _act(case: Case, name: str, who: Reviewer, now: datetime) -> Case:
    me = who.person_id
    if name == "appeal":
        return appeal(case, "mia", "not us", now)
    if name == "reopen":
        return reopen(case, "new evidence", now)
    require_fit(who, case)
    acts: dict[str, Callable[[], Case]] = {
        "claim": lambda: claim(case, me, now, LASTS),
        "violation": lambda: decide(case, me, cases_pb2.DECISION_VIOLATION, "it is", now),
        "no violation": lambda: decide(case, me, cases_pb2.DECISION_NO_VIOLATION, "it is not", now),
        "confirm": lambda: confirm(case, me, True, now),
        "send back": lambda: confirm(case, me, False, now),
        "escalate": lambda: hand_on(case, me, cases_pb2.DESK_SAFETY, "beyond me", now),
        "refer": lambda: hand_on(case, me, cases_pb2.DESK_LEGAL, "a subpoena", now),
    }
    return acts[name]()


@given(STEPS)
def test_whatever_people_try_in_whatever_order(steps: list[tuple[str, Reviewer, int]]) -> None:
    now = NOW
    case = due(Case("case_1", "org_1", "fraud", 2, NOW), NOW, 2)
    found_by: set[str] = set()  # who found the violation that stands
    took_part: set[str] = set()  # who did anything but claim it
    for name, who, minutes in steps:
        now += timedelta(minutes=minutes)
        before = case
        with suppress(KeptError):
            case = _act(before, name, who, now)
            if name not in ("claim", "appeal", "reopen"):
                took_part.add(who.person_id)
        _keeps_the_rules(before, case, now)
        if case.state == UPHELD and before.state != UPHELD:
            found_by = {case.decided_by, case.confirmed_by} - {""} | (
                found_by if case.round == APPEAL else set()
            )
            assert len(found_by) >= 2, "two people, or two and a third"
        if case.turn > before.turn:
            assert before.is_closed
            assert took_part == set(case.earlier_reviewers)


def _keeps_the_rules(before: Case, case: Case, now: datetime) -> None:
    part = {case.claimed_by, case.decided_by, case.confirmed_by} - {""}
    assert not part & set(case.earlier_reviewers), "nobody handles it twice"
    assert case.is_closed == (case.closed_at is not None)
    assert case.severity >= before.severity
    assert case.due_at is not None
    assert before.due_at is not None
    assert case.due_at <= before.due_at or case.turn > before.turn, "nothing puts it off"
    assert (case.told_at is None) == (before.told_at is None and case.state != UPHELD), (
        "told once it is upheld"
    )
    if before.state == DISMISSED and before.round == APPEAL:
        assert case == before, "the customer may rely on it"
    assert as_of(as_of(case, now), now) == as_of(case, now)
    if as_of(case, now).state == OPEN:
        assert replace(as_of(case, now), claimed_by="") == as_of(case, now)

"""What may happen to a case, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from kept.errors.v1 import reasons_pb2
from kept.safety_review.v1 import cases_pb2
from kept.safety_review.v1.cases_pb2 import DECISION_NO_VIOLATION, DECISION_VIOLATION
from services.safety_review.reviewing.cases import (
    CLAIMED,
    DECIDED,
    DISMISSED,
    OPEN,
    UPHELD,
    Case,
    as_of,
    claim,
    confirm,
    decide,
)
from shared.errors import KeptError, Reason

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
LASTS: Final = timedelta(hours=8)
REASON: Final = "It asks for help with fraud."

OPENED: Final = Case("case_1", "org_1", "fraud", 3, NOW)
MINE: Final = replace(OPENED, state=CLAIMED, claimed_by="ada", claimed_until=NOW + LASTS)
LAPSED: Final = replace(MINE, claimed_until=NOW)
WAITING: Final = replace(
    MINE, state=DECIDED, decision=DECISION_VIOLATION, decided_by="ada", decision_reason=REASON
)
WAITING_LONG: Final = replace(WAITING, claimed_until=NOW - LASTS)
CLOSED: Final = replace(
    WAITING, state=UPHELD, confirmed_by="ben", claimed_by="", claimed_until=None, closed_at=NOW, told_at=NOW
)
DROPPED: Final = replace(
    MINE,
    state=DISMISSED,
    claimed_by="",
    claimed_until=None,
    decision=DECISION_NO_VIOLATION,
    decided_by="ada",
    decision_reason=REASON,
    closed_at=NOW,
)
WRONG: Final = Reason.REASON_WRONG_STATE
SECOND: Final = Reason.REASON_SECOND_PERSON_REQUIRED

Outcome = Case | tuple["reasons_pb2.Reason.ValueType", str | None]


def _check(outcome: Outcome, act: object) -> None:
    assert callable(act)
    if isinstance(outcome, Case):
        assert act() == outcome
        return
    with pytest.raises(KeptError) as raised:
        act()
    assert (raised.value.reason, raised.value.metadata.get("state")) == outcome


def _name(state: "cases_pb2.CaseState.ValueType") -> str:
    return cases_pb2.CaseState.Name(state)


@pytest.mark.parametrize(
    ("case", "who", "outcome"),
    [
        (OPENED, "ada", MINE),
        (MINE, "ben", (WRONG, _name(CLAIMED))),
        (replace(MINE, claimed_until=NOW + timedelta(microseconds=1)), "ben", (WRONG, _name(CLAIMED))),
        (replace(MINE, claimed_until=NOW + timedelta(hours=1)), "ada", MINE),
        (LAPSED, "ben", replace(MINE, claimed_by="ben")),
        (WAITING, "ben", (WRONG, _name(DECIDED))),
        (WAITING_LONG, "ben", (WRONG, _name(DECIDED))),
        (CLOSED, "ada", (WRONG, _name(UPHELD))),
        (DROPPED, "ada", (WRONG, _name(DISMISSED))),
    ],
)
def test_claiming(case: Case, who: str, outcome: Outcome) -> None:
    _check(outcome, lambda: claim(case, who, NOW, LASTS))


@pytest.mark.parametrize(
    ("case", "who", "decision", "outcome"),
    [
        (MINE, "ada", DECISION_VIOLATION, WAITING),
        (MINE, "ada", DECISION_NO_VIOLATION, DROPPED),
        (MINE, "ben", DECISION_VIOLATION, (WRONG, _name(CLAIMED))),
        (OPENED, "ada", DECISION_NO_VIOLATION, (WRONG, _name(OPEN))),
        (LAPSED, "ada", DECISION_NO_VIOLATION, (WRONG, _name(OPEN))),
        (WAITING, "ada", DECISION_NO_VIOLATION, (WRONG, _name(DECIDED))),
        (CLOSED, "ada", DECISION_NO_VIOLATION, (WRONG, _name(UPHELD))),
        (DROPPED, "ada", DECISION_VIOLATION, (WRONG, _name(DISMISSED))),
    ],
)
def test_deciding(case: Case, who: str, decision: "cases_pb2.Decision.ValueType", outcome: Outcome) -> None:
    _check(outcome, lambda: decide(case, who, decision, REASON, NOW))


@pytest.mark.parametrize(
    ("case", "who", "agreed", "outcome"),
    [
        (WAITING, "ben", True, CLOSED),
        (WAITING_LONG, "ben", True, CLOSED),
        (WAITING, "ada", True, (SECOND, None)),
        (WAITING, "ada", False, (SECOND, None)),
        (WAITING, "ben", False, replace(MINE, took_part=("ada", "ben"))),
        (WAITING_LONG, "ben", False, replace(OPENED, took_part=("ada", "ben"))),
        (OPENED, "ben", True, (WRONG, _name(OPEN))),
        (MINE, "ben", True, (WRONG, _name(CLAIMED))),
        (LAPSED, "ben", True, (WRONG, _name(OPEN))),
        (CLOSED, "cleo", True, (WRONG, _name(UPHELD))),
        (DROPPED, "ben", False, (WRONG, _name(DISMISSED))),
    ],
)
def test_confirming(case: Case, who: str, agreed: bool, outcome: Outcome) -> None:
    _check(outcome, lambda: confirm(case, who, agreed, NOW))


@pytest.mark.parametrize(
    ("case", "counts_as"),
    [(OPENED, OPENED), (MINE, MINE), (LAPSED, OPENED), (WAITING_LONG, WAITING_LONG), (CLOSED, CLOSED)],
)
def test_a_claim_that_is_over_leaves_no_mark(case: Case, counts_as: Case) -> None:
    assert as_of(case, NOW) == counts_as

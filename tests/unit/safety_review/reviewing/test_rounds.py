"""Handing on, appealing and opening again, as a table of cases without a database."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from kept.errors.v1 import reasons_pb2
from kept.safety_review.v1.cases_pb2 import (
    DECISION_NO_VIOLATION,
    DECISION_VIOLATION,
    DESK_LEGAL,
    DESK_SAFETY,
)
from services.safety_review.reviewing.cases import (
    APPEAL,
    APPEAL_FOR,
    CLAIMED,
    DECIDED,
    DISMISSED,
    DUE,
    OPEN,
    REOPENED,
    UPHELD,
    Case,
    appeal,
    claim,
    confirm,
    decide,
    due,
    hand_on,
    reopen,
)
from services.safety_review.reviewing.reviewers import Reviewer, require_fit, require_sight
from shared.errors import KeptError, Reason

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
OPENED: Final = Case("case_1", "org_1", "fraud", 2, NOW, due_at=NOW + DUE[2])
MINE: Final = replace(OPENED, state=CLAIMED, claimed_by="ada", claimed_until=NOW + HOUR)
UPHELD_CASE: Final = replace(
    OPENED,
    state=UPHELD,
    decision=DECISION_VIOLATION,
    decided_by="ada",
    confirmed_by="ben",
    closed_at=NOW,
    told_at=NOW,
)
DISMISSED_CASE: Final = replace(
    OPENED, state=DISMISSED, decision=DECISION_NO_VIOLATION, decided_by="ada", closed_at=NOW
)
WRONG: Final = Reason.REASON_WRONG_STATE


def _reason(act: Callable[[], object]) -> "reasons_pb2.Reason.ValueType":
    with pytest.raises(KeptError) as raised:
        act()
    return raised.value.reason


def test_a_colleague_gets_it_more_urgent_and_who_handed_it_on_does_not_get_it_back() -> None:
    handed = hand_on(MINE, "ada", DESK_SAFETY, "beyond me", NOW)
    assert (handed.state, handed.severity, handed.due_at) == (OPEN, 3, NOW + DUE[3])
    assert (handed.claimed_by, handed.earlier_reviewers, handed.note) == ("", ("ada",), "beyond me")
    worst = replace(MINE, severity=4, due_at=NOW + HOUR)
    assert hand_on(worst, "ada", DESK_SAFETY, "beyond me", NOW).due_at == NOW + HOUR, "never later"


def test_legal_staff_gets_what_is_referred_to_them() -> None:
    handed = hand_on(MINE, "ada", DESK_LEGAL, "a subpoena", NOW)
    assert (handed.referred, handed.severity, handed.due_at) == (True, 2, OPENED.due_at)


@pytest.mark.parametrize(
    ("case", "who"), [(OPENED, "ada"), (MINE, "ben"), (replace(MINE, claimed_until=NOW), "ada")]
)
def test_only_who_has_claimed_hands_on_as_long_as_the_claim_lasts(case: Case, who: str) -> None:
    assert _reason(lambda: hand_on(case, who, DESK_SAFETY, "beyond me", NOW)) == WRONG


def test_an_appeal_is_for_somebody_else_and_comes_once() -> None:
    appealed = appeal(UPHELD_CASE, "mia", "not us", NOW + HOUR)
    assert (appealed.state, appealed.round, appealed.turn) == (OPEN, APPEAL, 2)
    assert appealed.earlier_reviewers == ("ada", "ben")
    assert (appealed.decided_by, appealed.confirmed_by, appealed.closed_at) == ("", "", None)
    assert appealed.due_at == NOW + HOUR + DUE[2]
    assert appealed.is_full, "what is flagged meanwhile is another case"
    claimed = replace(appealed, state=CLAIMED, claimed_by="cleo", claimed_until=NOW + 9 * HOUR)
    again = decide(claimed, "cleo", DECISION_VIOLATION, "as before", NOW + 2 * HOUR)
    assert again.state == UPHELD, "two found it before: the third is enough"
    assert _reason(lambda: appeal(again, "mia", "still not us", NOW + 3 * HOUR)) == (
        Reason.REASON_APPEAL_CLOSED
    )
    overturned = decide(claimed, "cleo", DECISION_NO_VIOLATION, "they are right", NOW + 2 * HOUR)
    assert overturned.state == DISMISSED
    assert _reason(lambda: reopen(overturned, "we change our mind", NOW + 3 * HOUR)) == WRONG


@pytest.mark.parametrize(
    ("case", "at", "reason"),
    [
        (UPHELD_CASE, NOW + APPEAL_FOR, Reason.REASON_APPEAL_CLOSED),
        (DISMISSED_CASE, NOW, WRONG),
        (MINE, NOW, WRONG),
    ],
)
def test_what_cannot_be_appealed(case: Case, at: datetime, reason: "reasons_pb2.Reason.ValueType") -> None:
    assert _reason(lambda: appeal(case, "mia", "not us", at)) == reason
    last = NOW + APPEAL_FOR - timedelta(microseconds=1)
    assert appeal(UPHELD_CASE, "mia", "not us", last).state == OPEN


@pytest.mark.parametrize("case", [UPHELD_CASE, DISMISSED_CASE])
def test_a_closed_case_is_opened_again_for_others_and_needs_two_as_the_first_time(case: Case) -> None:
    again = reopen(case, "new evidence", NOW + HOUR)
    assert (again.state, again.round, again.turn, again.note) == (OPEN, REOPENED, 2, "new evidence")
    assert set(again.earlier_reviewers) == {case.decided_by, case.confirmed_by} - {""}
    claimed = replace(again, state=CLAIMED, claimed_by="cleo", claimed_until=NOW + 9 * HOUR)
    assert decide(claimed, "cleo", DECISION_VIOLATION, "it was", NOW + 2 * HOUR).state == DECIDED


@pytest.mark.parametrize(
    "again", [lambda case: appeal(case, "mia", "not us", NOW), lambda case: reopen(case, "new evidence", NOW)]
)
def test_whose_decision_was_sent_back_and_who_sent_it_back_go_on_in_that_round_and_not_after(
    again: Callable[[Case], Case],
) -> None:
    decided = decide(MINE, "ada", DECISION_VIOLATION, "it is", NOW)
    returned = confirm(decided, "ben", False, NOW)
    for who in ("ada", "ben"):
        require_fit(replace(SAFETY, person_id=who), returned)
    # Both are through with it, and two others find the violation.
    claimed = claim(replace(returned, claimed_until=NOW), "cleo", NOW, HOUR)
    upheld = confirm(decide(claimed, "cleo", DECISION_VIOLATION, "it is", NOW), "dan", True, NOW)
    case = again(upheld)
    for who in ("ada", "ben", "cleo", "dan"):
        person = replace(SAFETY, person_id=who)
        assert _reason(lambda person=person: require_fit(person, case)) == (  # type: ignore[misc]
            Reason.REASON_REVIEWER_EXCLUDED
        )


@pytest.mark.parametrize("case", [OPENED, MINE])
def test_what_is_not_closed_is_not_opened_again(case: Case) -> None:
    assert _reason(lambda: reopen(case, "new evidence", NOW)) == WRONG


def test_a_worse_flag_brings_the_due_time_forward_and_a_lesser_one_does_not_put_it_off() -> None:
    assert due(replace(OPENED, due_at=None), NOW, 1).due_at == NOW + DUE[2]
    worse = due(OPENED, NOW + HOUR, 4)
    assert (worse.severity, worse.due_at) == (4, NOW + HOUR + DUE[4])
    assert due(worse, NOW + HOUR, 1) == worse


SAFETY: Final = Reviewer("cleo", is_safety=True, is_legal=False)
LEGAL: Final = Reviewer("luca", is_safety=False, is_legal=True)
BOTH: Final = Reviewer("bea", is_safety=True, is_legal=True)
REFERRED: Final = replace(OPENED, referred=True)


@pytest.mark.parametrize(
    ("who", "case", "sight", "fit"),
    [
        (SAFETY, OPENED, None, None),
        (BOTH, REFERRED, None, None),
        (LEGAL, REFERRED, None, None),
        (LEGAL, OPENED, Reason.REASON_NOT_FOUND, Reason.REASON_NOT_FOUND),
        (SAFETY, REFERRED, None, Reason.REASON_NOT_AUTHORIZED),
        (SAFETY, replace(OPENED, earlier_reviewers=("cleo",)), None, Reason.REASON_REVIEWER_EXCLUDED),
        (
            replace(SAFETY, affiliations=frozenset({"org_1"})),
            OPENED,
            Reason.REASON_CONFLICT_OF_INTEREST,
            Reason.REASON_CONFLICT_OF_INTEREST,
        ),
        (replace(SAFETY, affiliations=frozenset({"org_2"})), OPENED, None, None),
    ],
)
def test_who_may_see_and_who_may_handle(
    who: Reviewer,
    case: Case,
    sight: "reasons_pb2.Reason.ValueType | None",
    fit: "reasons_pb2.Reason.ValueType | None",
) -> None:
    for rule, expected in ((require_sight, sight), (require_fit, fit)):
        if expected is None:
            rule(who, case)
        else:
            assert _reason(lambda rule=rule: rule(who, case)) == expected  # type: ignore[misc]

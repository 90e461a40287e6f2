"""What may happen to a case: a state machine without a database.

    OPEN -claim-> CLAIMED -no violation-> DISMISSED
                  CLAIMED -violation-> DECIDED -confirmed by another person-> UPHELD
                  CLAIMED -violation, on an appeal-> UPHELD: two people found it before
                  CLAIMED -handed on-> OPEN, for a colleague or for legal staff
                                       DECIDED -sent back by another person-> CLAIMED, or OPEN once the claim is over
    UPHELD -appealed by the customer, once-> OPEN, for somebody else
    UPHELD, DISMISSED -opened again by staff-> OPEN, for somebody else

A claim that is over leaves no mark: such a case counts as OPEN everywhere (`as_of`). Every function takes a case and gives the case
that comes of it; what is not allowed raises KeptError and changes nothing. Those that are named for what was done make the same case
without asking whether it was in time. Who may act at all is another rule: `reviewers`.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from kept.safety_review.v1 import cases_pb2
from shared.errors import KeptError, Reason, wrong_state

# As many records as one call tells access control about; the next one opens another case.
MAX_FLAGS: Final = 10_000
# 1 (low) to 4 (critical).
WORST: Final = 4
# How long a case may wait for its decision, by severity.
DUE: Final = {
    1: timedelta(days=7),
    2: timedelta(days=3),
    3: timedelta(hours=24),
    4: timedelta(hours=4),
}
# How long after the decision a customer may appeal.
APPEAL_FOR: Final = timedelta(days=30)

OPEN: Final = cases_pb2.CASE_STATE_OPEN
CLAIMED: Final = cases_pb2.CASE_STATE_CLAIMED
DECIDED: Final = cases_pb2.CASE_STATE_DECIDED
UPHELD: Final = cases_pb2.CASE_STATE_UPHELD
DISMISSED: Final = cases_pb2.CASE_STATE_DISMISSED
FIRST: Final = cases_pb2.ROUND_FIRST
APPEAL: Final = cases_pb2.ROUND_APPEAL
REOPENED: Final = cases_pb2.ROUND_REOPENED
_UNDECIDED: Final = cases_pb2.DECISION_UNSPECIFIED


class Rate(NamedTuple):
    """Flags within a window that ended when they reached the threshold. one_end_user: of one pseudonym; else of the organization."""

    window_seconds: int
    flags: int
    one_end_user: bool


@dataclass(frozen=True)
class Case:
    """One case, without its flags.

    severity: 1 (low) to 4 (critical), the worst of its flags, or one more. claimed_by, claimed_until: kept while a violation waits for the
    second person. decision_reason, note, appeal_reason: a person's words; never in a log or an audit entry. flag_count: how many records
    it has. is_full: takes no more. turn: how often it was opened, round: why this time; begun_at: when, and due_at: until when it should be
    decided. opened_by: a person, or empty for what screening found. told_at: since when the customer knows of it.
    earlier_reviewers: who does not handle it any more. took_part: whose decision was sent back in this round, and who sent it back; they
    may go on in it, and not afterwards.
    """

    case_id: str
    organization_id: str
    category: str
    severity: int
    opened_at: datetime
    state: "cases_pb2.CaseState.ValueType" = OPEN
    claimed_by: str = ""
    claimed_until: datetime | None = None
    decision: "cases_pb2.Decision.ValueType" = _UNDECIDED
    decided_by: str = ""
    decision_reason: str = ""
    confirmed_by: str = ""
    closed_at: datetime | None = None
    flag_count: int = 0
    is_full: bool = False
    due_at: datetime | None = None
    begun_at: datetime | None = None
    turn: int = 1
    round: "cases_pb2.Round.ValueType" = FIRST
    opened_by: str = ""
    referred: bool = False
    note: str = ""
    earlier_reviewers: tuple[str, ...] = ()
    appealed_at: datetime | None = None
    appealed_by: str = ""
    appeal_reason: str = ""
    told_at: datetime | None = None
    rates: tuple[Rate, ...] = ()
    took_part: tuple[str, ...] = ()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in (UPHELD, DISMISSED)

    @property
    def appeal_until(self) -> datetime | None:
        """Until when the customer may appeal; None where that is not open."""
        if self.state != UPHELD or self.appealed_at is not None or self.closed_at is None:
            return None
        return self.closed_at + APPEAL_FOR


def as_of(case: Case, now: datetime) -> Case:
    """The case as it counts now: one whose claim is over is OPEN."""
    if case.state == CLAIMED and not _claim_lasts(case, now):
        return _unclaimed(case)
    return case


def etag(case: Case, now: datetime) -> str:
    """What a decision has to show to prove that it is about the case as it is now: another flag, claim, round or decision changes it."""
    case = as_of(case, now)
    parts = (
        case.state,
        case.flag_count,
        case.claimed_by,
        case.decision,
        case.decided_by,
        case.decision_reason,
        case.turn,
        case.referred,
    )
    return "case-" + hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def due(case: Case, now: datetime, severity: int) -> Case:
    """The case with at least this severity from now on, and due accordingly: never later than before."""
    severity = min(max(case.severity, severity), WORST)
    by = (case.opened_at if case.due_at is None else now) + DUE[severity]
    return replace(case, severity=severity, due_at=by if case.due_at is None else min(case.due_at, by))


def claim(case: Case, person_id: str, now: datetime, lasts: timedelta) -> Case:
    """The case claimed by a person from now on; whoever has it already gets the full time again. Raises WRONG_STATE."""
    case = as_of(case, now)
    if case.state == CLAIMED and case.claimed_by != person_id:
        raise _wrong(case, "Somebody else has claimed the case.")
    if case.state not in (OPEN, CLAIMED):
        raise _wrong(case, "Only a case that waits for a decision can be claimed.")
    return replace(case, state=CLAIMED, claimed_by=person_id, claimed_until=now + lasts)


def decide(
    case: Case, person_id: str, decision: "cases_pb2.Decision.ValueType", reason: str, now: datetime
) -> Case:
    """The case decided by who has claimed it, as long as the claim lasts: DECIDED for a violation, or UPHELD on an appeal; else DISMISSED.
    Raises WRONG_STATE."""
    return decided(as_of(case, now), person_id, decision, reason, now)


def decided(
    case: Case, person_id: str, decision: "cases_pb2.Decision.ValueType", reason: str, at: datetime
) -> Case:
    """The same, though the claim may be over by then."""
    case = replace(_mine(case, person_id), decision=decision, decided_by=person_id, decision_reason=reason)
    if decision == cases_pb2.DECISION_VIOLATION:
        return _closed(case, UPHELD, at) if case.round == APPEAL else replace(case, state=DECIDED)
    if decision == cases_pb2.DECISION_NO_VIOLATION:
        return _closed(case, DISMISSED, at)
    raise ValueError("no such decision")  # the contract lets none through


def confirm(case: Case, person_id: str, agreed: bool, now: datetime) -> Case:
    """A violation upheld by a second person, or sent back. Raises WRONG_STATE; SECOND_PERSON_REQUIRED for who decided."""
    if case.state != DECIDED:
        raise _wrong(as_of(case, now), "Only a decision that waits for a second person can be confirmed.")
    if case.decided_by == person_id:
        raise KeptError(
            Reason.REASON_SECOND_PERSON_REQUIRED, "Who decided a case does not confirm it; ask a colleague."
        )
    if agreed:
        return replace(_closed(case, UPHELD, now), confirmed_by=person_id)
    took_part = _together(case.took_part, case.decided_by, person_id)
    undecided = replace(
        case, state=CLAIMED, decision=_UNDECIDED, decided_by="", decision_reason="", took_part=took_part
    )
    return as_of(undecided, now)


def hand_on(case: Case, person_id: str, desk: "cases_pb2.Desk.ValueType", reason: str, now: datetime) -> Case:
    """The case back in the queue, undecided, by who has claimed it: a severity higher for a colleague, or for legal staff. Raises
    WRONG_STATE."""
    return handed_on(as_of(case, now), person_id, desk, reason, now)


def handed_on(
    case: Case, person_id: str, desk: "cases_pb2.Desk.ValueType", reason: str, at: datetime
) -> Case:
    """The same, though the claim may be over by then."""
    case = _mine(case, person_id)
    earlier = _together(case.earlier_reviewers, person_id)
    handed = replace(_unclaimed(case), note=reason, earlier_reviewers=earlier)
    if desk == cases_pb2.DESK_LEGAL:
        return replace(handed, referred=True)
    return due(handed, at, case.severity + 1)


def appeal(case: Case, member_id: str, reason: str, now: datetime) -> Case:
    """An upheld case, open again for somebody else, because the customer says so. Raises WRONG_STATE; APPEAL_CLOSED the second time and
    30 days after the decision."""
    if case.appeal_until is not None and now >= case.appeal_until:
        raise _appeal_closed(case)
    return appealed(case, member_id, reason, now)


def appealed(case: Case, member_id: str, reason: str, at: datetime) -> Case:
    """The same, though the time to appeal may be over by then."""
    if case.appealed_at is not None:
        raise _appeal_closed(case)
    if case.state != UPHELD:
        raise _wrong(case, "Only a case that was upheld can be appealed.")
    again = _again(case, APPEAL, at)
    return replace(again, appealed_at=at, appealed_by=member_id, appeal_reason=reason)


def reopen(case: Case, reason: str, now: datetime) -> Case:
    """A closed case, open again for somebody else, because staff says so. Raises WRONG_STATE for any other, and for one that was dismissed
    on appeal: the customer may rely on that."""
    if not case.is_closed:
        raise _wrong(as_of(case, now), "Only a closed case can be opened again.")
    if case.state == DISMISSED and case.round == APPEAL:
        raise _wrong(case, "What was dismissed on the customer's appeal stays dismissed.")
    return replace(_again(case, REOPENED, now), note=reason)


def _again(case: Case, why: "cases_pb2.Round.ValueType", now: datetime) -> Case:
    """It takes no more records: what is flagged now belongs to a case of its own, which may be open beside it."""
    return replace(
        _unclaimed(case),
        decision=_UNDECIDED,
        decided_by="",
        decision_reason="",
        confirmed_by="",
        closed_at=None,
        is_full=True,
        turn=case.turn + 1,
        round=why,
        begun_at=now,
        due_at=now + DUE[case.severity],
        referred=False,
        earlier_reviewers=_together(
            case.earlier_reviewers, *case.took_part, case.decided_by, case.confirmed_by
        ),
        took_part=(),
    )


def _closed(case: Case, state: "cases_pb2.CaseState.ValueType", now: datetime) -> Case:
    told_at = case.told_at or (now if state == UPHELD else None)
    return replace(case, state=state, claimed_by="", claimed_until=None, closed_at=now, told_at=told_at)


def _together(people: tuple[str, ...], *more: str) -> tuple[str, ...]:
    return tuple(sorted({*people, *filter(None, more)}))


def _unclaimed(case: Case) -> Case:
    return replace(case, state=OPEN, claimed_by="", claimed_until=None)


def _mine(case: Case, person_id: str) -> Case:
    if case.state != CLAIMED:
        raise _wrong(case, "Only a case that you have claimed can be decided, and each claim decides once.")
    if case.claimed_by != person_id:
        raise _wrong(case, "Somebody else has claimed the case.")
    return case


def _claim_lasts(case: Case, now: datetime) -> bool:
    return case.claimed_until is not None and now < case.claimed_until


def _appeal_closed(case: Case) -> KeptError:
    until = case.appeal_until
    return KeptError(
        Reason.REASON_APPEAL_CLOSED,
        "The case was appealed before, or the time to appeal is over.",
        metadata={"until": until.isoformat() if until else ""},
    )


def _wrong(case: Case, text: str) -> KeptError:
    return wrong_state(text, cases_pb2.CaseState.Name(case.state))

"""What may happen to a case: a state machine without a database.

    OPEN -claim-> CLAIMED -no violation-> DISMISSED
                  CLAIMED -violation-> DECIDED -confirmed by another person-> UPHELD
                                       DECIDED -sent back by another person-> CLAIMED, or OPEN once the claim is over

A claim that is over leaves no mark: such a case counts as OPEN everywhere (`as_of`). Every function takes a case and gives the case
that comes of it; what is not allowed raises KeptError and changes nothing.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kept.safety_review.v1 import cases_pb2
from shared.errors import KeptError, Reason, wrong_state

# As many records as one call tells access control about; the next one opens another case.
MAX_FLAGS: Final = 10_000

OPEN: Final = cases_pb2.CASE_STATE_OPEN
CLAIMED: Final = cases_pb2.CASE_STATE_CLAIMED
DECIDED: Final = cases_pb2.CASE_STATE_DECIDED
UPHELD: Final = cases_pb2.CASE_STATE_UPHELD
DISMISSED: Final = cases_pb2.CASE_STATE_DISMISSED


@dataclass(frozen=True)
class Case:
    """One case, without its flags.

    severity: 1 (low) to 4 (critical), the worst of its flags. claimed_by, claimed_until: kept while a violation waits for the second
    person. decision_reason: a person's words; never in a log or an audit entry. flag_count: how many records it has. is_full: takes no
    more.
    """

    case_id: str
    organization_id: str
    category: str
    severity: int
    opened_at: datetime
    state: "cases_pb2.CaseState.ValueType" = OPEN
    claimed_by: str = ""
    claimed_until: datetime | None = None
    decision: "cases_pb2.Decision.ValueType" = cases_pb2.DECISION_UNSPECIFIED
    decided_by: str = ""
    decision_reason: str = ""
    confirmed_by: str = ""
    closed_at: datetime | None = None
    flag_count: int = 0
    is_full: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in (UPHELD, DISMISSED)


def as_of(case: Case, now: datetime) -> Case:
    """The case as it counts now: one whose claim is over is OPEN."""
    if case.state == CLAIMED and not _claim_lasts(case, now):
        return replace(case, state=OPEN, claimed_by="", claimed_until=None)
    return case


def etag(case: Case, now: datetime) -> str:
    """What a decision has to show to prove that it is about the case as it is now: another flag, claim or decision changes it."""
    case = as_of(case, now)
    parts = (
        case.state,
        case.flag_count,
        case.claimed_by,
        case.decision,
        case.decided_by,
        case.decision_reason,
    )
    return "case-" + hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


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
    """The case decided by who has claimed it, as long as the claim lasts: DECIDED for a violation, else DISMISSED. Raises
    WRONG_STATE."""
    case = as_of(case, now)
    if case.state != CLAIMED:
        raise _wrong(case, "Only a case that you have claimed can be decided, and each claim decides once.")
    if case.claimed_by != person_id:
        raise _wrong(case, "Somebody else has claimed the case.")
    decided = replace(case, decision=decision, decided_by=person_id, decision_reason=reason)
    if decision == cases_pb2.DECISION_VIOLATION:
        return replace(decided, state=DECIDED)
    if decision == cases_pb2.DECISION_NO_VIOLATION:
        return replace(decided, state=DISMISSED, claimed_by="", claimed_until=None, closed_at=now)
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
        return replace(
            case, state=UPHELD, confirmed_by=person_id, claimed_by="", claimed_until=None, closed_at=now
        )
    undecided = replace(
        case, state=CLAIMED, decision=cases_pb2.DECISION_UNSPECIFIED, decided_by="", decision_reason=""
    )
    return as_of(undecided, now)


def _claim_lasts(case: Case, now: datetime) -> bool:
    return case.claimed_until is not None and now < case.claimed_until


def _wrong(case: Case, text: str) -> KeptError:
    return wrong_state(text, cases_pb2.CaseState.Name(case.state))

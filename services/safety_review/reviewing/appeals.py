"""What a customer is told of its cases, and its appeal.

The rule: a customer is told of a case when two people have upheld it, and from then on; never while it is looked into for the first time,
for that would warn whoever it is about, and not of one that was dismissed, for there is nothing to tell. What is told is the category, how
many records, the state and the dates; never which rule matched, who decided, or a reviewer's words. That data were read is told at once by
the access log, and that records are held by the list of holds, for those are promises of their own.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from services.safety_review.reviewing.case_acts import CaseActs
from services.safety_review.reviewing.cases import Case, appeal
from services.safety_review.store import cases as store
from shared.errors import not_found
from shared.identity import Caller
from shared.pages import DEFAULT_SIZE, Place, page_by_place


@dataclass(frozen=True)
class Told:
    """A case that a customer was told of. appeal_until: None where it cannot be appealed any more."""

    case: Case
    appeal_until: datetime | None


class Appeals(CaseActs):
    """For admins of customers; each sees the own organization."""

    def list_page(self, caller: Caller, page_size: int, page_token: str) -> tuple[list[Told], str]:
        """A page of the cases that the caller's organization was told of, in that order, and the token of the next page. Raises
        INVALID_ARGUMENT for a token that this list did not give."""
        with self._database.transaction() as tx:
            read = partial(store.told, tx, caller.organization_id)
            found, token = page_by_place("own_cases", page_size or DEFAULT_SIZE, page_token, read, _place)
        return [self._told(case) for case in found], token

    def appeal(self, caller: Caller, case_id: str, reason: str) -> Told:
        """Asks for another look. Raises NOT_FOUND for a case of another organization and for one that the customer was not told of, so that
        nobody learns of a case by appealing; APPEAL_CLOSED, WRONG_STATE."""

        def act(case: Case, now: datetime) -> Case:
            if case.organization_id != caller.organization_id or case.told_at is None:
                raise not_found("case")
            return appeal(case, caller.member_id, reason, now)

        with self._database.transaction() as tx:
            case, now = self._changed(tx, case_id, None, act)
            self._audit(tx, "case.appealed", caller.actor, case, {}, now, told=True)
            return self._told(case)

    def _told(self, case: Case) -> Told:
        until = case.appeal_until
        return Told(case, until if until is not None and self._clock.now() < until else None)


def _place(case: Case) -> Place:
    assert case.told_at is not None
    return case.told_at, case.case_id

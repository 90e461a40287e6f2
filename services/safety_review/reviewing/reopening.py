"""Closed cases that staff opens again."""

from datetime import datetime

from services.safety_review import notices
from services.safety_review.reviewing.case_acts import CaseActs, Review
from services.safety_review.reviewing.cases import DISMISSED, Case, reopen
from services.safety_review.reviewing.flags import Flags
from services.safety_review.reviewing.reviewers import Reviewer, require_sight
from services.safety_review.store import cases as store
from services.safety_review.store import erasures
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, wrong_state
from shared.outbox import Outbox


class Reopening(CaseActs):
    """The act."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, flags: Flags) -> None:
        super().__init__(database, clock, outbox)
        self._flags = flags

    def reopen(self, reviewer: Reviewer, case_id: str, shown_etag: str, reason: str) -> Review:
        """Opens a closed case again, for others to decide; what a dismissed one let go is held anew. Raises NOT_FOUND, WRONG_STATE,
        CONFLICT, CONFLICT_OF_INTEREST."""
        with self._database.transaction() as tx:
            found = store.find(tx, case_id)
            if found is None:
                raise not_found("case")
            # The fence comes before the case's lock, as everywhere.
            if erasures.stay_inside(tx, [found.organization_id]):
                raise wrong_state("The organization is erased.", "ERASED")
            was: list[Case] = []

            def act(case: Case, now: datetime) -> Case:
                was.append(case)
                require_sight(reviewer, case)
                return reopen(case, reason, now)

            case, now = self._changed(tx, case_id, shown_etag, act)
            dismissed = was[0].state == DISMISSED
            if dismissed:
                self._flags.hold_again(tx, case, now)
            self._outbox.put(tx, notices.CASE, notices.open_case(case_id, case.organization_id, case.turn))
            facts = {"was": "dismissed" if dismissed else "upheld"}
            self._audit(tx, "case.reopened", reviewer.person_id, case, facts, now)
            return self._review(tx, case)

"""Reviewers at work: cases are listed, claimed, decided, confirmed, handed on; each act with its audit entry and what follows from it."""

import base64
import binascii
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.safety_review.v1 import cases_pb2
from services.safety_review.reviewing.case_acts import MOST_LOG_FINDINGS, CaseActs, Review
from services.safety_review.reviewing.cases import (
    DISMISSED,
    UPHELD,
    Case,
    as_of,
    claim,
    confirm,
    decide,
    etag,
    hand_on,
)
from services.safety_review.reviewing.flags import RANKS
from services.safety_review.reviewing.reviewers import Reviewer, require_fit, require_sight
from services.safety_review.store import Tx, history, log_rules
from services.safety_review.store import cases as store
from services.safety_review.store.cases import Place
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, invalid, not_found
from shared.outbox import Outbox
from shared.voices import Voices, lapsed_voice

_DEFAULT_PAGE: Final = 100
# A page ends early rather than growing beyond what a message holds.
_FLAGS_A_PAGE: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_DECIDING: Final = "/kept.safety_review.v1.CaseService/DecideCase"


class Reviews(CaseActs):
    """The cases.

    voices: whose decision may be confirmed. claim_for: how long a claim lasts. cases_a_day: how many a person takes within 24 hours at
    most.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        voices: Voices,
        claim_for: timedelta,
        cases_a_day: int,
    ) -> None:
        super().__init__(database, clock, outbox)
        self._voices = voices
        self._claim_for = claim_for
        self._cases_a_day = cases_a_day

    def list_page(
        self,
        reviewer: Reviewer,
        state: "cases_pb2.CaseState.ValueType",
        page_size: int,
        page_token: str,
    ) -> tuple[list[Review], str]:
        """A page of the cases that the reviewer may see, the most severe and oldest first, and the token of the next page, empty on the
        last one. Raises INVALID_ARGUMENT for a token that a list of this state did not give."""
        after = _decode(state, page_token) if page_token else None
        limit = page_size or _DEFAULT_PAGE
        now = self._clock.now()
        with self._database.transaction() as tx:
            found = store.page(
                tx,
                state,
                after,
                limit + 1,
                now,
                without=reviewer.affiliations,
                only_referred=not reviewer.is_safety,
            )
            listed = _fitting(found[:limit])
            case_ids = [case.case_id for case in listed]
            flags = store.flags_of(tx, case_ids)
            found_in = log_rules.of_cases(tx, case_ids, MOST_LOG_FINDINGS)
        reviews = [
            Review(as_of(case, now), flags[case.case_id], etag(case, now), found_in[case.case_id])
            for case in listed
        ]
        return reviews, _encode(state, _place_of(listed[-1])) if len(listed) < len(found) else ""

    def get(self, reviewer: Reviewer, case_id: str) -> Review:
        """One case. Raises NOT_FOUND, CONFLICT_OF_INTEREST."""
        with self._database.transaction() as tx:
            case = store.find(tx, case_id)
            if case is None:
                raise not_found("case")
            require_sight(reviewer, case)
            return self._review(tx, case)

    def claim(self, reviewer: Reviewer, case_id: str) -> Review:
        """Takes a case for the reviewer. Raises NOT_FOUND, WRONG_STATE, REVIEW_BUDGET_EXHAUSTED and what `require_fit` raises."""

        def act(case: Case, now: datetime) -> Case:
            require_fit(reviewer, case)
            return claim(case, reviewer.person_id, now, self._claim_for)

        with self._database.transaction() as tx:
            history.lock_person(tx, reviewer.person_id)
            case, now = self._changed(tx, case_id, None, act)
            return self._claimed(tx, reviewer, case, now)

    def claim_next(self, reviewer: Reviewer) -> Review:
        """Takes the most urgent case that the reviewer may handle. Raises NOT_FOUND, REVIEW_BUDGET_EXHAUSTED."""
        with self._database.transaction() as tx:
            history.lock_person(tx, reviewer.person_id)
            now = self._clock.now()
            case = store.lock_next(tx, reviewer, now)
            if case is None:
                raise not_found("case that waits for you")
            require_fit(reviewer, case)
            case = claim(case, reviewer.person_id, now, self._claim_for)
            store.update_to(tx, case)
            return self._claimed(tx, reviewer, case, now)

    def decide(
        self,
        reviewer: Reviewer,
        case_id: str,
        shown_etag: str,
        decision: "cases_pb2.Decision.ValueType",
        reason: str,
    ) -> Review:
        """Decides a case that the reviewer has claimed; one without a violation is closed, its holds are released. Raises NOT_FOUND,
        WRONG_STATE, CONFLICT and what `require_fit` raises."""

        def act(case: Case, now: datetime) -> Case:
            require_fit(reviewer, case)
            return decide(case, reviewer.person_id, decision, reason, now)

        with self._database.transaction() as tx:
            case, now = self._changed(tx, case_id, shown_etag, act)
            if case.is_closed:
                self._close(tx, case)
            kind = "case.dismissed" if case.state == DISMISSED else "case.decided"
            finding = "no_violation" if case.state == DISMISSED else "violation"
            self._audit(tx, kind, reviewer.person_id, case, {"decision": finding}, now)
            return self._review(tx, case)

    def confirm(self, reviewer: Reviewer, case_id: str, shown_etag: str, agreed: bool) -> Review:
        """The second person's word on a violation. Raises NOT_FOUND; WRONG_STATE, also for agreement with somebody who could not decide any
        more; SECOND_PERSON_REQUIRED, CONFLICT and what `require_fit` raises, but that a referred case may be confirmed by safety staff too;
        REVIEW_BUDGET_EXHAUSTED, for who confirms reads as well."""
        with self._database.transaction() as tx:
            seen = store.find(tx, case_id)
        counting = (
            self._voices([seen.decided_by], _DECIDING)
            if agreed and seen is not None and seen.decided_by
            else frozenset[str]()
        )
        with self._database.transaction() as tx:
            history.lock_person(tx, reviewer.person_id)
            decided_by = ""

            def act(case: Case, now: datetime) -> Case:
                nonlocal decided_by
                decided_by = case.decided_by
                require_fit(reviewer, replace(case, referred=case.referred and not reviewer.is_safety))
                return confirm(case, reviewer.person_id, agreed, now)

            case, now = self._changed(tx, case_id, shown_etag, act)
            if agreed and decided_by not in counting:
                raise lapsed_voice("Who decided the case could not decide it any more: send it back.")
            self._count(tx, reviewer.person_id, case, now)
            if case.state == UPHELD:
                self._close(tx, case)
            kind = "case.confirmed" if agreed else "case.returned"
            self._audit(tx, kind, reviewer.person_id, case, {"decided_by": decided_by}, now)
            return self._review(tx, case)

    def hand_on(
        self,
        reviewer: Reviewer,
        case_id: str,
        shown_etag: str,
        desk: "cases_pb2.Desk.ValueType",
        reason: str,
    ) -> Review:
        """Hands a claimed case on, undecided. Raises NOT_FOUND, WRONG_STATE, CONFLICT and what `require_fit` raises."""

        def act(case: Case, now: datetime) -> Case:
            require_fit(reviewer, case)
            return hand_on(case, reviewer.person_id, desk, reason, now)

        with self._database.transaction() as tx:
            case, now = self._changed(tx, case_id, shown_etag, act)
            desk_name = short_name(cases_pb2.Desk, desk)
            self._audit(tx, "case.escalated", reviewer.person_id, case, {"desk": desk_name}, now)
            return self._review(tx, case)

    def _claimed(self, tx: Tx, reviewer: Reviewer, case: Case, now: datetime) -> Review:
        assert case.claimed_until is not None
        self._count(tx, reviewer.person_id, case, now)
        until = case.claimed_until.isoformat()
        self._audit(tx, "case.claimed", reviewer.person_id, case, {"until": until}, now)
        return self._review(tx, case)

    def _count(self, tx: Tx, person_id: str, case: Case, now: datetime) -> None:
        """Counts a case that a person takes or confirms; one taken before costs nothing. Raises REVIEW_BUDGET_EXHAUSTED, saying when there
        is room."""
        if history.has_claimed(tx, person_id, case):
            return
        taken = history.claimed_since(tx, person_id, now - _DAY)
        if len(taken) >= self._cases_a_day:
            raise KeptError(
                Reason.REASON_REVIEW_BUDGET_EXHAUSTED,
                "You have had as many cases within 24 hours as are good for one person.",
                metadata={"limit": str(self._cases_a_day)},
                retry_after=taken[-self._cases_a_day] + _DAY - now,
            )
        history.add_claim(tx, person_id, case, now)


def _fitting(cases: list[Case]) -> list[Case]:
    """As many of the first cases as a page has room for, at least one."""
    flags = 0
    for number, case in enumerate(cases):
        flags += case.flag_count
        if number and flags > _FLAGS_A_PAGE:
            return cases[:number]
    return cases


def _place_of(case: Case) -> Place:
    return Place(case.severity, case.opened_at, case.case_id)


def _encode(state: int, place: Place) -> str:
    microseconds = (place.opened_at - _EPOCH) // timedelta(microseconds=1)
    text = f"cases:{state}:{place.severity}:{microseconds}:{place.case_id}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def _decode(state: int, token: str) -> Place:
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
        _, _, severity, microseconds, case_id = text.split(":")
        place: Place | None = Place(
            int(severity), _EPOCH + timedelta(microseconds=int(microseconds)), case_id
        )
    except (binascii.Error, ValueError, OverflowError):
        place = None
    if place is None or not _is_place(place) or _encode(state, place) != token:
        raise invalid("page_token", "is not one that this list gave")
    return place


def _is_place(place: Place) -> bool:
    kind, _, name = place.case_id.partition("_")
    return place.severity in RANKS.values() and kind == "case" and len(name) == 26 and name.isalnum()

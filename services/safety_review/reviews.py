"""Reviewers at work: cases are listed, claimed, decided and confirmed, each act with its audit entry and what follows from it.

Case events are the vendor's own matter until the customer may be told, so their entries stand under no organization and name it among
their subjects. A reviewer's reason is in the case and nowhere else.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kept.safety_review.v1 import cases_pb2
from services.safety_review import notices
from services.safety_review.cases import DISMISSED, UPHELD, Case, as_of, claim, confirm, decide, etag
from services.safety_review.flags import RANKS
from services.safety_review.store import Tx
from services.safety_review.store import cases as store
from services.safety_review.store.cases import Flag, Place
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, invalid, not_found
from shared.identity import Caller
from shared.outbox import Outbox

_DEFAULT_PAGE: Final = 100
# A page ends early rather than growing beyond what a message holds.
_FLAGS_A_PAGE: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Review:
    """A case as it counts now, with its flags. etag: what a decision on it has to show."""

    case: Case
    flags: Sequence[Flag]
    etag: str


class Reviews:
    """The cases.

    claim_for: how long a claim lasts.
    """

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, claim_for: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._claim_for = claim_for

    def list_page(
        self, state: "cases_pb2.CaseState.ValueType", page_size: int, page_token: str
    ) -> tuple[list[Review], str]:
        """A page of cases, the most severe and oldest first, and the token of the next page, empty on the last one. Raises
        INVALID_ARGUMENT for a token that a list of this state did not give."""
        after = _decode(state, page_token) if page_token else None
        limit = page_size or _DEFAULT_PAGE
        now = self._clock.now()
        with self._database.transaction() as tx:
            found = store.page(tx, state, after, limit + 1, now)
            listed = _fitting(found[:limit])
            flags = store.flags_of(tx, [case.case_id for case in listed])
        reviews = [Review(as_of(case, now), flags[case.case_id], etag(case, now)) for case in listed]
        return reviews, _encode(state, _place_of(listed[-1])) if len(listed) < len(found) else ""

    def get(self, case_id: str) -> Review:
        """One case. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            case = store.find(tx, case_id)
            if case is None:
                raise not_found("case")
            return self._review(tx, case)

    def claim(self, caller: Caller, case_id: str) -> Review:
        """Takes a case for the caller. Raises NOT_FOUND, WRONG_STATE."""

        def act(case: Case, now: datetime) -> Case:
            return claim(case, caller.person_id, now, self._claim_for)

        with self._database.transaction() as tx:
            case = self._changed(tx, case_id, None, act)
            assert case.claimed_until is not None
            self._audit(tx, "case.claimed", caller, case, {"until": case.claimed_until.isoformat()})
            return self._review(tx, case)

    def decide(
        self,
        caller: Caller,
        case_id: str,
        shown_etag: str,
        decision: "cases_pb2.Decision.ValueType",
        reason: str,
    ) -> Review:
        """Decides a case that the caller has claimed; one without a violation is closed, its holds are released. Raises NOT_FOUND,
        WRONG_STATE, CONFLICT."""

        def act(case: Case, now: datetime) -> Case:
            return decide(case, caller.person_id, decision, reason, now)

        with self._database.transaction() as tx:
            case = self._changed(tx, case_id, shown_etag, act)
            if case.state == DISMISSED:
                for flag in store.flags_of(tx, [case_id])[case_id]:
                    self._outbox.put(tx, notices.HOLD, notices.release_hold(flag.hold_request_id, case_id))
                self._outbox.put(tx, notices.CASE, notices.close_case(case_id, upheld=False))
                self._audit(tx, "case.dismissed", caller, case, {"decision": "no_violation"})
            else:
                self._audit(tx, "case.decided", caller, case, {"decision": "violation"})
            return self._review(tx, case)

    def confirm(self, caller: Caller, case_id: str, shown_etag: str, agreed: bool) -> Review:
        """The second person's word on a violation. Raises NOT_FOUND, WRONG_STATE, SECOND_PERSON_REQUIRED, CONFLICT."""
        with self._database.transaction() as tx:
            decided_by = ""

            def act(case: Case, now: datetime) -> Case:
                nonlocal decided_by
                decided_by = case.decided_by
                return confirm(case, caller.person_id, agreed, now)

            case = self._changed(tx, case_id, shown_etag, act)
            if case.state == UPHELD:
                self._outbox.put(tx, notices.CASE, notices.close_case(case_id, upheld=True))
            kind = "case.confirmed" if agreed else "case.returned"
            self._audit(tx, kind, caller, case, {"decided_by": decided_by})
            return self._review(tx, case)

    def _changed(
        self, tx: Tx, case_id: str, shown_etag: str | None, act: Callable[[Case, datetime], Case]
    ) -> Case:
        """The case after an act, stored. shown_etag: of the case that the act is based on; None for an act that needs no reading."""
        case = store.lock(tx, case_id)
        if case is None:
            raise not_found("case")
        now = self._clock.now()
        changed = act(case, now)
        if shown_etag is not None and shown_etag != etag(case, now):
            raise KeptError(
                Reason.REASON_CONFLICT,
                "The case has changed since it was read; read it again.",
                metadata={"etag": etag(case, now)},
            )
        store.update_to(tx, changed)
        return changed

    def _review(self, tx: Tx, case: Case) -> Review:
        now = self._clock.now()
        return Review(as_of(case, now), store.flags_of(tx, [case.case_id])[case.case_id], etag(case, now))

    def _audit(self, tx: Tx, kind: str, caller: Caller, case: Case, facts: Mapping[str, str]) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                subjects=[case.case_id, case.organization_id],
                facts={"category": case.category, **facts},
            ),
        )


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

"""What every act on a case has in common: the case is locked, changed by its rule, stored, and what was done goes to the audit log, in one
transaction.

Case events are the vendor's own matter until the customer may be told, so their entries stand under no organization and name it among
their subjects. A person's words are in the case and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.safety_review import notices
from services.safety_review.reviewing.cases import DISMISSED, UPHELD, Case, as_of, etag
from services.safety_review.store import Tx, history, log_rules
from services.safety_review.store import cases as store
from services.safety_review.store.cases import Flag
from services.safety_review.store.log_rules import LogFinding
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, outdated
from shared.outbox import Outbox

# What is shown of them; a case names its records all the same.
MOST_LOG_FINDINGS: Final = 1_000
Act = Callable[[Case, datetime], Case]


@dataclass(frozen=True)
class Review:
    """A case as it counts now, with its flags. etag: what a decision on it has to show. log_findings: what rules over log data found, and
    how many records of each are in the case."""

    case: Case
    flags: Sequence[Flag]
    etag: str
    log_findings: Sequence[tuple[LogFinding, int]] = ()


class CaseActs:
    """Acts on cases. For those that inherit it."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox

    def _changed(self, tx: Tx, case_id: str, shown_etag: str | None, act: Act) -> tuple[Case, datetime]:
        """The case after an act, stored, and the act's instant. shown_etag: of the case that the act is based on; None for an act that
        needs no reading. Raises NOT_FOUND, CONFLICT and what the act raises."""
        case = store.lock(tx, case_id)
        if case is None:
            raise not_found("case")
        now = self._clock.now()
        changed = act(case, now)
        if shown_etag is not None and shown_etag != etag(case, now):
            raise outdated("The case has changed since it was read; read it again.", etag(case, now))
        store.update_to(tx, changed)
        return changed, now

    def _close(self, tx: Tx, case: Case) -> None:
        """What follows from a decision that closed a case: without a violation its holds are released at once."""
        history.add_decision(tx, case)
        if case.state == DISMISSED:
            for flag in store.flags_of(tx, [case.case_id])[case.case_id]:
                if flag.hold_request_id:
                    release = notices.release_hold(flag.hold_request_id, case.case_id)
                    self._outbox.put(tx, notices.HOLD, release)
        if case.state == UPHELD and case.told_at is not None and case.told_at == case.closed_at:
            self._audit(tx, "case.told", notices.SERVICE, case, {}, case.told_at, told=True)
        self._outbox.put(tx, notices.CASE, notices.close_case(case.case_id, upheld=case.state != DISMISSED))

    def _review(self, tx: Tx, case: Case) -> Review:
        now = self._clock.now()
        return Review(
            as_of(case, now),
            store.flags_of(tx, [case.case_id])[case.case_id],
            etag(case, now),
            log_rules.of_cases(tx, [case.case_id], MOST_LOG_FINDINGS)[case.case_id],
        )

    def _audit(
        self,
        tx: Tx,
        kind: str,
        actor: str,
        case: Case,
        facts: Mapping[str, str | int],
        at: datetime,
        *,
        told: bool = False,
    ) -> None:
        """at: the act's own instant, which the replay puts into the case (services.safety_review.replay).
        told: whether the customer may see the entry among those on the own organization."""
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=at,
                organization_id=case.organization_id if told else "",
                subjects=[case.case_id, case.organization_id],
                facts={"category": case.category, **facts},
            ),
        )

"""Cases of safety review, as far as grants can demand them.

That there is a case, and what came of it, is the vendor's own matter until safety review tells the customer (docs/safety-review.md): its
entries stand under no organization and name it among their subjects.
"""

from collections.abc import Collection

from services.access_control.audit.decision_log import DecisionLog
from services.access_control.grants.acts import end_grants
from services.access_control.store import cases as case_store
from services.access_control.store import grants as store
from shared.clock import Clock
from shared.database import Database
from shared.errors import invalid, not_found

_SERVICE = "service:safety_review"


class Cases:
    """The acts of safety review."""

    def __init__(self, database: Database, clock: Clock, decisions: DecisionLog) -> None:
        self._database = database
        self._clock = clock
        self._decisions = decisions

    def open(self, case_id: str, organization_id: str, record_ids: Collection[bytes], turn: int = 1) -> None:
        """Makes a case known, or replaces its records. A closed one stays closed, for this may be the late repeat of an old call, unless
        `turn`, which counts how often it was opened, is higher than known. Raises INVALID_ARGUMENT for a case of another organization."""
        with self._database.transaction() as tx:
            case = case_store.put_case(
                tx, case_id, organization_id, frozenset(record_ids), self._clock.now(), turn
            )
            if case.organization_id != organization_id:
                raise invalid("organization_id", "is not the case's")
            self._decisions.write(
                tx,
                "case.known",
                _SERVICE,
                subjects=[case_id, organization_id],
                facts={"records": len(frozenset(record_ids)), "state": case.state},
            )

    def close(self, case_id: str, upheld: bool) -> None:
        """Closes a case. Unless it is upheld its grants end at once. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            case = case_store.case(tx, case_id, lock=True)
            if case is None:
                raise not_found("case")
            state = "upheld" if upheld else "closed"
            if case.state == state:
                return
            now = self._clock.now()
            case_store.set_case_state(tx, case_id, state, now)
            ended = 0
            if not upheld:
                grants = store.open_of_case(tx, case_id)
                ended = end_grants(tx, self._decisions, grants, _SERVICE, "what it was for has ended", now)
            self._decisions.write(
                tx,
                "case.closed",
                _SERVICE,
                subjects=[case_id, case.organization_id],
                facts={"upheld": upheld, "ended_grants": ended},
            )

"""Carries the secrecy of holds (secrecy.py): somebody looks at it again, and once it ends both services that keep are told before the
customer is. As with holds, what broke off is done again by the job."""

from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from services.retention.holds import secrecy
from services.retention.holds.entries import HoldEntries, scope_facts
from services.retention.holds.hold import Hold, HoldState
from services.retention.peers import Peers
from services.retention.store import erasures as erasure_rows
from services.retention.store import holds as rows
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, not_found, wrong_state

_ACTOR: Final = "service:retention"
_log = structlog.get_logger(__name__)


class Discloser:
    """Reviews and ends secrecy."""

    def __init__(self, database: Database, clock: Clock, peers: Peers, entries: HoldEntries) -> None:
        self._database = database
        self._clock = clock
        self._peers = peers
        self._entries = entries

    def review(self, hold_id: str, review_at: datetime | None, person_id: str, reason: str) -> Hold:
        """Somebody looked again whether the law forbids telling: it does, and is looked at again at `review_at`; None: the customer may be
        told. Raises NOT_FOUND, INVALID_ARGUMENT, and WRONG_STATE for what is no secret, or stays one that nobody confirmed."""
        now = self._clock.now()
        with self._database.transaction() as tx:
            hold = rows.lock(tx, hold_id)
            if hold is None:
                raise not_found("hold")
            if review_at is None:
                looked = secrecy.end(hold.secrecy)
            else:
                if not hold.confirmed_by:
                    raise wrong_state("A second person has to confirm the hold first.", hold.state)
                looked = secrecy.keep(hold.secrecy, review_at, now)
            reviewed = replace(hold, secrecy=looked)
            if reviewed != hold:
                rows.save(tx, reviewed)
                before = "" if hold.secrecy is None else hold.secrecy.review_at.isoformat()
                said: dict[str, str | int] = {} if review_at is None else {"review_at": review_at.isoformat()}
                self._entries.write(
                    tx,
                    hold,
                    "hold.secrecy_reviewed",
                    person_id,
                    subjects=(),
                    ends=str(review_at is None).lower(),
                    reason=reason,
                    review_at_before=before,
                    **said,
                )
        if looked.state is secrecy.SecrecyState.ENDING and hold.state is not HoldState.PENDING:
            try:
                reviewed = self.disclose(hold_id) or reviewed
            except KeptError as error:
                # Written down; the job carries it on.
                _log.warning("hold.waits", hold_id=hold_id, state=hold.state, reason=error.name)
        return reviewed

    def disclose(self, hold_id: str) -> Hold | None:
        """Tells the others that a hold is an ordinary one; once both know, so does the customer. Not while logging erases the organization:
        it counts all of the hold as removed, or nothing. The job comes back."""
        with self._database.transaction() as tx:
            seen = rows.get(tx, hold_id)
            erasure = None if seen is None else erasure_rows.lock_of(tx, seen.organization_id)
        if erasure is not None and erasure.is_removing:
            return None
        # From here on it does not: see `Erasures`.
        is_removed = erasure is not None and erasure.receipt("logging") is not None
        gone = self._peers.logging.DiscloseHold(lifecycle_pb2.DiscloseHoldRequest(hold_id=hold_id))
        if not gone.done:
            return None
        self._peers.keys.DiscloseHold(keys_pb2.DiscloseHoldRequest(hold_id=hold_id))
        with self._database.transaction() as tx:
            hold = rows.lock(tx, hold_id)
            if hold is None or hold.secrecy is None or hold.secrecy.state is not secrecy.SecrecyState.ENDING:
                return hold
            told_at = self._clock.now()
            is_counted = not is_removed and hold.ended_at is None
            told = replace(hold, secrecy=secrecy.ended(hold.secrecy, told_at, is_counted))
            rows.save(tx, told)
            self._entries.write(
                tx,
                told,
                "hold.disclosed",
                _ACTOR,
                told_at,
                reference=told.reference,
                review_at=told.review_at.isoformat(),
                legal_basis=hold.secrecy.legal_basis,
                placed_at=told.placed_at.isoformat(),
                subjects=(),
                kept=told.kept_count,
                counted=str(is_counted).lower(),
                **scope_facts(told.scope),
            )
        return told

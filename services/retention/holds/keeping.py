"""Carries holds through the two services that must both keep: logging the rows, access control the keys.

No transaction is open while another service is called: what came of it is written if the hold is still where it was. Every call is
idempotent at its receiver, and a hold that was let go is kept by neither service again, so a step that broke off or was done twice is
simply done again, by the call that placed the hold or by the job. Sealed data keys pass through and are not stored here.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2
from kept.retention.v1 import holds_pb2
from services.retention.certificates import destructions
from services.retention.holds import hold as holds
from services.retention.holds.disclosing import Discloser
from services.retention.holds.entries import HoldEntries, scope_facts, secrecy_facts
from services.retention.holds.hold import Hold, HoldKind, HoldOrder, HoldState
from services.retention.holds.retaining import retain
from services.retention.holds.sweeping import Sweeper
from services.retention.notifications import Notifications
from services.retention.peers import Peers
from services.retention.store import Tx
from services.retention.store import holds as rows
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.ids import new_id
from shared.jobs import Attempts, Job
from shared.outbox import Outbox
from shared.telemetry import ALERT
from shared.voices import lapsed_voice, voices_by

_ACTOR: Final = "service:retention"
_PLACING: Final = "/kept.retention.v1.HoldService/PlaceHold"
_BATCH: Final = 20
# An audit entry names so many records; the hold has them all.
_MOST_LOST: Final = 1000
_log = structlog.get_logger(__name__)


class HoldKeeper:
    """Places, confirms, releases and ends holds."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        peers: Peers,
        notifications: Notifications,
    ) -> None:
        self._database = database
        self._clock = clock
        self._peers = peers
        self._voices = voices_by(peers.authz)
        self._entries = HoldEntries(clock, outbox, notifications)
        self.discloser = Discloser(database, clock, peers, self._entries)
        self._sweeper = Sweeper(database, clock, peers)
        self.job = Job("holds", timedelta(seconds=1), self.step)

    def place(self, order: HoldOrder, actor: str) -> Hold:
        """Places a hold as far as that can be done now: PENDING when another service cannot be reached, and the job goes on.

        Raises REQUEST_ID_REUSED, INVALID_ARGUMENT, UNKNOWN_ORGANIZATION, what access control answers with when it cannot say whether there
        is one, and HOLD_TOO_LATE when every record was gone.
        """
        hold = self._placed(order, actor)
        if hold.state is HoldState.PENDING:
            hold = self._advance_or_keep(hold)
        if hold.state is HoldState.FAILED:
            raise KeptError(
                Reason.REASON_HOLD_TOO_LATE,
                "Every record that the hold names is gone.",
                metadata={"lost": str(len(hold.lost))},
            )
        return hold

    def _placed(self, order: HoldOrder, actor: str) -> Hold:
        with self._database.transaction() as tx:
            known = rows.get_by_request(tx, actor, order.request_id)
        if known is None:
            now = self._clock.now()
            order.check(now)
            hold = holds.place(new_id("hold"), order, actor, now)
            self._peers.require_organization(order.organization_id)
            with self._database.transaction() as tx:
                if rows.add(tx, hold):
                    self._entries.write(
                        tx,
                        hold,
                        "hold.placed",
                        actor,
                        hold.placed_at,
                        subjects=hold.record_ids,
                        reference=hold.reference,
                        request_id=hold.request_id,
                        review_at=hold.review_at.isoformat(),
                        **scope_facts(hold.scope),
                        **secrecy_facts(hold),
                    )
                    return hold
                known = rows.get_by_request(tx, actor, order.request_id)  # a replica was faster
        if known is None or known.content_sha256 != order.content_sha256():
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED, "This request id came before with another content."
            )
        return known

    def confirm(self, hold_id: str, person_id: str) -> Hold:
        """The second person's word. Raises NOT_FOUND, SECOND_PERSON_REQUIRED, and WRONG_STATE, also where who placed it could not any
        more."""
        with self._database.transaction() as tx:
            seen = rows.get(tx, hold_id)
        if seen is None:
            raise not_found("hold")
        holds.confirm(seen, person_id, self._clock.now())
        has_voice = bool(self._voices([seen.placed_by], _PLACING))
        with self._database.transaction() as tx:
            hold = rows.lock(tx, hold_id)
            if hold is None:
                raise not_found("hold")
            confirmed = holds.confirm(hold, person_id, self._clock.now())
            if confirmed != hold:
                if not has_voice:
                    raise lapsed_voice(
                        "Who placed the hold could not place it any more: place another, then release this one."
                    )
                rows.save(tx, confirmed)
                self._entries.write(tx, confirmed, "hold.confirmed", person_id)
        return confirmed

    def extend(self, find: Callable[[Tx], Hold | None], review_at: datetime, actor: str, reason: str) -> Hold:
        """Puts a review, or an end, off. find: gives the hold that the caller may extend. Raises NOT_FOUND, INVALID_ARGUMENT,
        WRONG_STATE."""
        with self._database.transaction() as tx:
            found = find(tx)
            hold = None if found is None else rows.lock(tx, found.hold_id)
            if hold is None:
                raise not_found("hold")
            extended = holds.extend(hold, review_at, self._clock.now())
            if extended != hold:
                rows.save(tx, extended)
                said: dict[str, str | int] = {
                    "review_at": review_at.isoformat(),
                    "review_at_before": hold.review_at.isoformat(),
                }
                self._entries.write(tx, extended, "hold.extended", actor, subjects=(), reason=reason, **said)
        return extended

    def release(self, find: Callable[[Tx], Hold | None], actor: str, reason: str) -> Hold:
        """Lets a hold go, as far as that can be done now. find: gives the hold that the caller may release. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            found = find(tx)
            hold = None if found is None else rows.lock(tx, found.hold_id)
            if hold is None:
                raise not_found("hold")
            released = holds.release(hold)
            if released != hold:
                rows.save(tx, released)
                self._entries.write(tx, released, "hold.released", actor, reason=reason)
        if released.state is HoldState.RELEASING:
            released = self._advance_or_keep(released)
        return released

    def step(self) -> bool:
        """The job: ends what ends by itself, then carries on what is unfinished. Raises the first failure once all were tried."""
        with self._database.transaction() as tx:
            ending = rows.ending(tx, self._clock.now(), _BATCH)
        attempts, settled = Attempts(), 0
        for hold_id in ending:
            with attempts.attempt():
                self._end_by_itself(hold_id)
        with self._database.transaction() as tx:
            waiting = rows.take_unfinished(tx, self._clock.now(), _BATCH)
            unswept = self._sweeper.wanted(tx)
            to_disclose = rows.to_disclose(tx, _BATCH)
            ALERT.labels("hold_review_overdue").set(rows.is_any_overdue(tx, self._clock.now()))
            ALERT.labels("hold_secrecy_review_overdue").set(
                rows.is_any_secrecy_overdue(tx, self._clock.now())
            )
        for behind in unswept:
            with attempts.attempt():
                self._sweeper.sweep(behind)
        for hold_id in to_disclose:
            with attempts.attempt():
                self.discloser.disclose(hold_id)
        for hold_id in waiting:
            with attempts.attempt():
                hold = self.advance(hold_id)
                settled += hold is not None and hold.state not in (HoldState.PENDING, HoldState.RELEASING)
        attempts.raise_first()
        return len(ending) == _BATCH or (len(waiting) == _BATCH and settled > 0)

    def _end_by_itself(self, hold_id: str) -> None:
        with self._database.transaction() as tx:
            hold = rows.lock(tx, hold_id)
            if hold is not None:
                self._leave(tx, hold)

    def _leave(self, tx: Tx, hold: Hold) -> Hold | None:
        """The hold on its way out, if it ends by itself now."""
        why = holds.ending(hold, self._clock.now())
        if why is None:
            return None
        leaving = holds.release(hold)
        rows.save(tx, leaving)
        kind = "hold.lapsed" if why is holds.Ending.LAPSED else "hold.released"
        self._entries.write(tx, leaving, kind, _ACTOR, reason=why)
        return leaving

    def _advance_or_keep(self, hold: Hold) -> Hold:
        try:
            return self.advance(hold.hold_id) or hold
        except KeptError as error:
            # The hold is written down and the job carries it on; whoever asked sees how far it is.
            _log.warning("hold.waits", hold_id=hold.hold_id, state=hold.state, reason=error.name)
            return hold

    def advance(self, hold_id: str) -> Hold | None:
        """Carries one hold a step further; None when it is not there. Raises what the other services answer with; nothing is changed
        then."""
        with self._database.transaction() as tx:
            hold = rows.lock(tx, hold_id)
            if hold is None:
                return None
            if hold.state is HoldState.PENDING:
                hold = self._leave(tx, hold) or hold
        if hold.state is HoldState.PENDING:
            return self._settle(hold) if hold.scope is None else self._settle_scope(hold)
        if hold.state is HoldState.RELEASING:
            return self._end(hold)
        return hold

    def _settle(self, hold: Hold) -> Hold:
        protected = self._protect(hold)
        if not protected:
            # Rows whose keys are gone must not outlive their day for a hold that never was.
            self._peers.logging.ReleaseRecords(lifecycle_pb2.ReleaseRecordsRequest(hold_id=hold.hold_id))
        with self._database.transaction() as tx:
            current = rows.lock(tx, hold.hold_id)
            if current is None or current.state is not HoldState.PENDING:
                return current or hold  # it was let go meanwhile, or another process was faster
            settled = holds.settle(current, protected, self._clock.now())
            rows.save(tx, settled)
            kind = "hold.failed" if settled.state is HoldState.FAILED else "hold.activated"
            self._entries.write(
                tx,
                settled,
                kind,
                _ACTOR,
                settled.activated_at or settled.ended_at,
                subjects=tuple(sorted(settled.lost)),
                kept=len(settled.kept),
                lost=len(settled.lost),
            )
        return settled

    def _settle_scope(self, hold: Hold) -> Hold:
        swept = self._sweeper.sweep(hold)
        with self._database.transaction() as tx:
            current = rows.lock(tx, hold.hold_id)
            if current is None or current.state is not HoldState.PENDING or current.sweep.swept_at is None:
                return current or swept
            settled = holds.settle_scope(current, self._clock.now())
            rows.save(tx, settled)
            gone = settled.sweep.gone_through
            self._entries.write(
                tx,
                settled,
                "hold.activated",
                _ACTOR,
                settled.activated_at,
                subjects=tuple(rows.lost_of(tx, hold.hold_id, _MOST_LOST)),
                kept=settled.records_kept,
                lost=settled.records_lost,
                **({} if gone is None else {"gone_through_day": gone.isoformat()}),
            )
        return settled

    def _protect(self, hold: Hold) -> set[bytes]:
        """Has both services keep what is there; the records that both keep now. None for a hold that either has let go already: it was
        released while we asked, or an earlier try found nothing to keep and broke off."""
        try:
            answer = self._peers.logging.HoldRecords(
                lifecycle_pb2.HoldRecordsRequest(
                    hold_id=hold.hold_id,
                    organization_id=hold.organization_id,
                    record_ids=hold.record_ids,
                    kind=holds_pb2.HoldKind.Value(f"HOLD_KIND_{hold.kind.value}"),
                    confidential=hold.is_secret,
                )
            )
            if not answer.held:
                return set()
            lost = retain(self._peers, hold, answer.held)
        except KeptError as error:
            if error.reason != Reason.REASON_WRONG_STATE:
                raise
            return set()
        return {record.record_id for record in answer.held} - lost

    def _end(self, hold: Hold) -> Hold:
        answer = self._peers.keys.ReleaseRecords(
            keys_pb2.ReleaseRecordsRequest(hold_id=hold.hold_id)
        ).destruction
        destruction = destructions.from_message(answer.destruction_id, answer)
        if destruction is None:
            return hold
        gone = self._peers.logging.ReleaseRecords(lifecycle_pb2.ReleaseRecordsRequest(hold_id=hold.hold_id))
        with self._database.transaction() as tx:
            current = rows.lock(tx, hold.hold_id)
            if current is None or current.state is not HoldState.RELEASING:
                return current or hold
            ended = holds.end(current, destruction, gone.removed, self._clock.now())
            rows.save(tx, ended)
            self._entries.write(
                tx,
                ended,
                "hold.ended",
                _ACTOR,
                ended.ended_at,
                subjects=(),
                removed=gone.removed,
                root_key_id=destruction.root_key_id,
                **({"kept": ended.kept_count} if ended.is_kept_known else {}),
            )
        return ended


def of_person(hold_id: str, method: str) -> Callable[[Tx], Hold | None]:
    """Finds a hold that a person may release or extend by this method. Raises CALLER_NOT_ALLOWED for a flagged one, which ends with its
    case."""

    def find(tx: Tx) -> Hold | None:
        hold = rows.get(tx, hold_id)
        if hold is not None and hold.kind is not HoldKind.LEGAL:
            raise KeptError(
                Reason.REASON_CALLER_NOT_ALLOWED,
                "A hold on flagged use ends with its case, not here.",
                metadata={"method": "/kept.retention.v1.HoldService/" + method},
            )
        return hold

    return find


def of_service(actor: str, hold_id: str, request_id: str) -> Callable[[Tx], Hold | None]:
    """Finds a hold that a service placed itself, by either id."""

    def find(tx: Tx) -> Hold | None:
        hold = rows.get(tx, hold_id) if hold_id else rows.get_by_request(tx, actor, request_id)
        return hold if hold is not None and hold.placed_by == actor else None

    return find

"""Carries the erasure of what an organization logged before zero data retention: keys first, then contents under logging's fence, then one
certificate, completed by a further one when the last hold on such a record ends.

Keys first, as for a whole organization: every key of these days is that organization's and serves nothing else, so from the first step on
nothing that no hold keeps opens any more, in whatever copy. As everywhere, each step is one bounded piece of work that can be done again,
and what came of calls is written if the erasure, locked now, is still as it was read.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Final

import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2 as logging_pb2
from services.retention.certificates import destructions
from services.retention.certificates.certificate import (
    Certificate,
    CertifiedDay,
    ContentNamed,
    HoldNamed,
    Receipt,
    Statement,
    completed,
)
from services.retention.certificates.certification import Certifier
from services.retention.erasures.content_states import (
    ContentErasure,
    ContentOrder,
    ContentState,
    kept_sentences,
    stays_sentences,
)
from services.retention.erasures.entries import ErasureEntries
from services.retention.holds.sweeping import Gate, before_keys
from services.retention.peers import Peers
from services.retention.rules import RuleBook
from services.retention.steps import Overtaken, unchanged
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import contents as rows
from services.retention.store import holds as hold_rows
from shared import ids
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason, not_found
from shared.jobs import Attempts, Job
from shared.outbox import Outbox

_ACTOR: Final = "service:retention"
_BATCH: Final = 10
_PAGE: Final = 1000
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ContentView:
    """An erasure as it is shown. kept: what remains and why; certificate: the newest complete one."""

    erasure: ContentErasure
    kept: tuple[str, ...]
    certificate: Certificate | None


class ContentErasures:
    """Begins, carries and shows erasures of content."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        peers: Peers,
        rules: RuleBook,
        certifier: Certifier,
    ) -> None:
        self._database = database
        self._clock = clock
        self._entries = ErasureEntries(clock, outbox)
        self._peers = peers
        self._rules = rules
        self._certifier = certifier
        self.job = Job("content_erasures", timedelta(seconds=1), self.step)

    def begin(self, order: ContentOrder, actor: str) -> ContentView:
        """Begins an erasure, or gives the one that the request began. Raises REQUEST_ID_REUSED, UNKNOWN_ORGANIZATION,
        and what access control answers with when it cannot say."""
        with self._database.transaction() as tx:
            is_begun = rows.by_request(tx, order.request_id) is not None
        if not is_begun:
            self._peers.require_organization(order.organization_id)
        now = self._clock.now()
        with self._database.transaction() as tx:
            known = rows.by_request(tx, order.request_id)
            if known is None:
                known = ContentErasure(
                    erasure_id=ids.new_id("erasure"),
                    request_id=order.request_id,
                    organization_id=order.organization_id,
                    requested_by=order.requested_by,
                    before=order.before,
                    state=ContentState.DESTROYING_KEYS,
                    started_at=now,
                )
                if rows.add(tx, known):
                    self._entries.write(
                        tx,
                        known,
                        "content_erasure.started",
                        actor,
                        at=known.started_at,
                        request_id=known.request_id,
                        requested_by=known.requested_by,
                        before=known.before.isoformat(),
                    )
                    after_commit(tx, self.job.wake.set)
                else:
                    known = rows.by_request(tx, order.request_id)  # a replica was faster
        if known is None or not known.is_of(order):
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED, "This request id came before with another content."
            )
        return self.get(known.erasure_id)

    def get(self, erasure_id: str) -> ContentView:
        """One erasure. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            erasure = rows.get(tx, erasure_id)
            if erasure is None:
                raise not_found("erasure")
            certificate = certificate_rows.newest_complete(tx, erasure_id)
            named = hold_rows.named(tx, [hold_id for hold_id, _ in erasure.held_by])
        return ContentView(erasure, tuple(kept_sentences(erasure, named)), certificate)

    def step(self) -> bool:
        """The job: one step of each erasure that can go on. Raises the first failure once all were tried."""
        with self._database.transaction() as tx:
            waiting = rows.take_unfinished(tx, self._clock.now(), _BATCH)
        attempts = Attempts()
        more = attempts.each(waiting, self._advance)
        attempts.raise_first()
        return more

    def _advance(self, erasure_id: str) -> bool:
        with self._database.transaction() as tx:
            erasure = rows.get(tx, erasure_id)
        if erasure is None or erasure.is_complete:
            return False
        try:
            match erasure.state:
                case ContentState.DESTROYING_KEYS:
                    return self._destroy(erasure)
                case ContentState.ERASING:
                    return self._erase(erasure)
                case ContentState.CERTIFYING | ContentState.CERTIFYING_REST:
                    return self._certify(erasure)
                case ContentState.DONE:
                    return self._resume(erasure)
        except Overtaken:
            return True
        except KeptError as error:
            # The policy is not in force everywhere yet: it is a moment after the erasure began.
            if error.reason != Reason.REASON_NOT_DUE:
                raise
            _log.info("content_erasure.waits", erasure_id=erasure.erasure_id, reason=error.name)
            return False

    def _at(self, erasure: ContentErasure) -> AbstractContextManager[Tx]:
        """See `unchanged`."""
        return unchanged(self._database, rows.lock, erasure.erasure_id, erasure)

    def _destroy(self, erasure: ContentErasure) -> bool:
        with self._database.transaction() as tx:
            gate = before_keys(tx, erasure.organization_id, erasure.fenced_at, self._clock.now())
        if gate is Gate.FENCE:
            return self._fence(erasure)
        if gate is Gate.WAIT:
            return False
        answer = self._peers.keys.DestroyEpochs(
            keys_pb2.DestroyEpochsRequest(
                destruction_id=erasure.erasure_id,
                content=keys_pb2.EarlyDays(
                    organization_id=erasure.organization_id, through_day=erasure.through_day.isoformat()
                ),
            )
        ).destruction
        destruction = destructions.from_message(erasure.erasure_id, answer)
        if destruction is None:
            return False
        destroyed = replace(
            erasure, state=ContentState.ERASING, destruction=destruction, epochs_destroyed=answer.epochs
        )
        with self._at(erasure) as tx:
            rows.save(tx, destroyed)
        return True

    def _fence(self, erasure: ContentErasure) -> bool:
        raised = self._peers.logging.RaiseFence(
            logging_pb2.RaiseFenceRequest(
                organization_id=erasure.organization_id,
                erasure_id=erasure.erasure_id,
                before=_before(erasure),
            )
        )
        with self._at(erasure) as tx:
            rows.save(tx, replace(erasure, fenced_at=raised.fenced_at.ToDatetime(tzinfo=UTC)))
        return True

    def _erase(self, erasure: ContentErasure) -> bool:
        answer = self._peers.logging.EraseContent(
            logging_pb2.EraseContentRequest(
                organization_id=erasure.organization_id,
                before=_before(erasure),
                erasure_id=erasure.erasure_id,
            )
        ).erasure
        fenced = replace(erasure, fenced_at=answer.fenced_at.ToDatetime(tzinfo=UTC))
        if answer.done:
            fenced = replace(
                fenced,
                state=ContentState.CERTIFYING,
                logged=Receipt(
                    "logging", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed), answer.held
                ),
            )
        with self._at(erasure) as tx:
            rows.save(tx, fenced)
        return True

    def _certify(self, erasure: ContentErasure) -> bool:
        with self._database.transaction() as tx:
            signed = certificate_rows.of_act(tx, erasure.erasure_id)
        is_further = erasure.state is ContentState.CERTIFYING_REST
        certificate = next((one for one in signed if one.is_further is is_further), None)
        if certificate is None and erasure.is_kept and not is_further:
            # The first was signed, and lost with a database: what it said is not so any more.
            return self._wait(erasure, self._status(erasure))
        if certificate is None:
            first = completed(signed, erasure.erasure_id, erasure.organization_id)
            return self._sign(erasure, first if is_further else "")
        if certificate.envelope is None:
            return False
        done = replace(
            erasure,
            state=ContentState.DONE,
            ended_at=erasure.ended_at or self._clock.now(),
            is_complete=is_further or not erasure.is_kept,
        )
        with self._at(erasure) as tx:
            rows.save(tx, done)
            named = certificate.certificate_id
            if is_further:
                self._entries.write(tx, done, "content_erasure.completed", _ACTOR, certificate_id=named)
            elif erasure.ended_at is None:  # else the log says so already
                at, kept = done.ended_at, done.is_kept
                self._entries.write(
                    tx, done, "content_erasure.ended", _ACTOR, at=at, certificate_id=named, kept=kept
                )
        return False

    def _sign(self, erasure: ContentErasure, completes: str) -> bool:
        status = self._status(erasure)
        if completes and status.held:
            return self._wait(erasure, status)
        epochs = self._destroyed_epochs(erasure)
        with self._at(erasure) as tx:
            certificate_rows.add_epochs(tx, erasure.erasure_id, erasure.erasure_id, epochs)
            rows.save_holds(tx, erasure.erasure_id, _held_by(status))
            rows.save(tx, replace(erasure, is_kept=bool(status.held)))
            current = rows.get(tx, erasure.erasure_id) or erasure
            self._certifier.issue(tx, self._statement(tx, current, status, completes))
        return False

    def _resume(self, erasure: ContentErasure) -> bool:
        """What follows the end of the last hold. Another may keep the same content by now."""
        status = self._status(erasure)
        if status.held:
            return self._wait(erasure, status)
        with self._at(erasure) as tx:
            rows.save(tx, replace(erasure, state=ContentState.CERTIFYING_REST))
        return True

    def _wait(self, erasure: ContentErasure, status: logging_pb2.ContentErasure) -> bool:
        with self._at(erasure) as tx:
            rows.save_holds(tx, erasure.erasure_id, _held_by(status))
            rows.save(tx, replace(erasure, state=ContentState.DONE))
        return False

    def _status(self, erasure: ContentErasure) -> logging_pb2.ContentErasure:
        return self._peers.logging.GetContentErasure(
            logging_pb2.GetContentErasureRequest(erasure_id=erasure.erasure_id)
        ).erasure

    def _destroyed_epochs(self, erasure: ContentErasure) -> list[keys_pb2.DestroyedEpoch]:
        found: list[keys_pb2.DestroyedEpoch] = []
        token = ""
        while True:
            page = self._peers.keys.ListDestroyedEpochs(
                keys_pb2.ListDestroyedEpochsRequest(
                    destruction_id=erasure.erasure_id, page_size=_PAGE, page_token=token
                )
            )
            found += page.epochs
            token = page.next_page_token
            if not token:
                return found

    def _statement(
        self, tx: Tx, erasure: ContentErasure, status: logging_pb2.ContentErasure, completes: str
    ) -> Statement:
        records = dict(erasure.held_by)
        named = hold_rows.named(tx, list(records))
        epochs = certificate_rows.epochs(tx, erasure.erasure_id, erasure.organization_id)
        removed_at = [hold.ended_at for hold in named if hold.ended_at is not None]
        if erasure.logged is not None:
            removed_at.append(erasure.logged.erased_at)
        return Statement(
            organization_id=erasure.organization_id,
            act_id=erasure.erasure_id,
            started_at=erasure.started_at,
            rule=self._rules.of_in(tx, erasure.organization_id),
            through_day=None,
            days=[
                CertifiedDay(
                    day, tuple(one.epoch_key_id for one in epochs if one.day == day), (erasure.erasure_id,)
                )
                for day in sorted({one.day for one in epochs})
            ],
            destructions=[
                *([erasure.destruction] if epochs else []),
                *(hold.destruction for hold in named if hold.destruction.destroyed_at is not None),
            ],
            removed_at=max(removed_at, default=None),
            removed=0,
            held=status.held,
            holds=[
                HoldNamed(hold.hold_id, hold.kind, records[hold.hold_id], hold.ended_at) for hold in named
            ],
            receipts=() if erasure.logged is None else (erasure.logged,),
            kept=kept_sentences(erasure, named),
            completes=completes,
            content=ContentNamed(
                erasure.before,
                erasure.fenced_at or erasure.started_at,
                erasure.removed.get("contents", 0),
                stays_sentences(),
            ),
        )


def _held_by(answer: logging_pb2.ContentErasure) -> list[tuple[str, int]]:
    return [(hold.hold_id, hold.records) for hold in answer.holds]


def _before(erasure: ContentErasure) -> Timestamp:
    before = Timestamp()
    before.FromDatetime(erasure.before)
    return before

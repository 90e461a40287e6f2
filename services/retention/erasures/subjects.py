"""Carries the erasure of one end user: rows first, under logging's fence; then access control and safety review are told which records are
gone; then one certificate, completed by a further one when the last hold on such a record ends.

Rows come before keys here, the other way round than for an organization: the keys serve other people's records too, so none can be
destroyed for this one, and what decides between a hold and the erasure is the row. As everywhere, each step is one bounded piece of work
that can be done again, and what came of calls is written if the erasure, locked now, is still as it was read.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, timedelta
from typing import Final

import structlog

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2 as logging_pb2
from kept.safety_review.v1 import lifecycle_pb2 as safety_review_pb2
from services.retention.certificates.certificate import (
    Certificate,
    CertifiedDay,
    HoldNamed,
    Receipt,
    Statement,
    SubjectNamed,
    completed,
)
from services.retention.certificates.certification import Certifier
from services.retention.erasures.entries import ErasureEntries
from services.retention.erasures.subject_states import (
    SubjectErasure,
    SubjectOrder,
    SubjectState,
    commitment,
    copy_sentences,
    kept_sentences,
    sealed_copies,
)
from services.retention.peers import Peers
from services.retention.rules import RuleBook
from services.retention.steps import Overtaken, unchanged
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import holds as hold_rows
from services.retention.store import subjects as rows
from shared import ids
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason, not_found, unknown_organization
from shared.jobs import Attempts, Job
from shared.outbox import Outbox

_ACTOR: Final = "service:retention"
_BATCH: Final = 10
_PAGE: Final = 1000
_SALT_BYTES: Final = 32
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SubjectView:
    """An erasure as it is shown. kept: what remains and why; certificate: the newest complete one."""

    erasure: SubjectErasure
    kept: tuple[str, ...]
    certificate: Certificate | None


class SubjectErasures:
    """Begins, carries and shows erasures of end users."""

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
        self.job = Job("subject_erasures", timedelta(seconds=1), self.step)

    def begin(self, order: SubjectOrder, actor: str) -> SubjectView:
        """Begins an erasure, as far as that can be done now, or gives the one that the request began. Raises REQUEST_ID_REUSED, and
        UNKNOWN_ORGANIZATION once logging has said so."""
        erasure = self._begun(order, actor)
        if erasure.state is SubjectState.ERASING:
            try:
                self._advance(erasure.erasure_id)
            except KeptError as error:
                # It is written down and the job carries it on; whoever asked sees how far it is.
                _log.warning("subject_erasure.waits", erasure_id=erasure.erasure_id, reason=error.name)
        view = self.get(erasure.erasure_id)
        if view.erasure.state is SubjectState.FAILED and view.erasure.fenced_at is None:
            raise unknown_organization()  # logging has never begun it
        return view

    def _begun(self, order: SubjectOrder, actor: str) -> SubjectErasure:
        now = self._clock.now()
        with self._database.transaction() as tx:
            known = rows.by_request(tx, order.request_id)
            if known is None:
                salt = ids.entropy(_SALT_BYTES)
                made = SubjectErasure(
                    erasure_id=ids.new_id("erasure"),
                    request_id=order.request_id,
                    organization_id=order.organization_id,
                    requested_by=order.requested_by,
                    end_user=order.end_user,
                    salt=salt,
                    commitment=commitment(salt, order.organization_id, order.end_user),
                    state=SubjectState.ERASING,
                    started_at=now,
                )
                if rows.add(tx, made):
                    self._entries.write(
                        tx,
                        made,
                        "subject_erasure.started",
                        actor,
                        at=made.started_at,
                        request_id=made.request_id,
                        requested_by=made.requested_by,
                        subject_commitment=made.commitment.hex(),
                    )
                    after_commit(tx, self.job.wake.set)
                    return made
                known = rows.by_request(tx, order.request_id)  # a replica was faster
        if known is None or not known.is_of(order):
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED, "This request id came before with another content."
            )
        return known

    def get(self, erasure_id: str) -> SubjectView:
        """One erasure. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            erasure = rows.get(tx, erasure_id)
            if erasure is None:
                raise not_found("erasure")
            certificate = certificate_rows.newest_complete(tx, erasure_id)
            named = hold_rows.named(tx, [hold_id for hold_id, _ in erasure.held_by])
        return SubjectView(erasure, tuple(kept_sentences(erasure, named)), certificate)

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
                case SubjectState.ERASING:
                    return self._erase(erasure)
                case SubjectState.FORGETTING | SubjectState.COMPLETING:
                    return self._tell(erasure)
                case SubjectState.CERTIFYING | SubjectState.CERTIFYING_REST:
                    return self._certify(erasure)
                case SubjectState.DONE:
                    return self._resume(erasure)
                case SubjectState.FAILED:
                    return False
        except Overtaken:
            return True
        except KeptError as error:
            # Logging was restored to before it, and has rows of that end user again whom nobody here knows any more.
            if error.reason != Reason.REASON_NOT_FOUND or erasure.state is SubjectState.ERASING:
                raise
            return self._fail(erasure, error)

    def _at(self, erasure: SubjectErasure) -> AbstractContextManager[Tx]:
        """See `unchanged`."""
        return unchanged(self._database, rows.lock, erasure.erasure_id, erasure)

    def _erase(self, erasure: SubjectErasure) -> bool:
        """Has logging erase a piece. Once it is done nothing here needs to know any more who it was."""
        try:
            answer = self._peers.logging.EraseSubject(
                logging_pb2.EraseSubjectRequest(
                    organization_id=erasure.organization_id,
                    end_user=erasure.end_user or "",
                    erasure_id=erasure.erasure_id,
                )
            ).erasure
        except KeptError as error:
            if error.reason != Reason.REASON_UNKNOWN_ORGANIZATION:
                raise
            return self._fail(erasure, error)
        fenced = replace(erasure, fenced_at=answer.fenced_at.ToDatetime(tzinfo=UTC))
        with self._at(erasure) as tx:
            if answer.done:
                rows.save_receipt(tx, erasure.erasure_id, _logged(answer))
                rows.save_holds(tx, erasure.erasure_id, _held_by(answer))
                fenced = replace(fenced, end_user=None, state=SubjectState.FORGETTING)
            rows.save(tx, fenced)
        return True

    def _fail(self, erasure: SubjectErasure, error: KeptError) -> bool:
        """It cannot go on. Whoever asked for it is told, and passes it on again."""
        failed = replace(
            erasure, state=SubjectState.FAILED, end_user=None, ended_at=self._clock.now(), is_complete=True
        )
        with self._at(erasure) as tx:
            rows.save(tx, failed)
            self._entries.write(
                tx, failed, "subject_erasure.failed", _ACTOR, at=failed.ended_at, reason=error.name
            )
        return False

    def _tell(self, erasure: SubjectErasure) -> bool:
        """Tells access control and safety review of a page of records that are gone."""
        page = self._peers.logging.ListErasedRecords(
            logging_pb2.ListErasedRecordsRequest(
                erasure_id=erasure.erasure_id, page_size=_PAGE, page_token=erasure.told_token
            )
        )
        withheld = self._peers.keys.WithholdRecords(
            keys_pb2.WithholdRecordsRequest(
                erasure_id=erasure.erasure_id,
                organization_id=erasure.organization_id,
                record_ids=page.record_ids,
            )
        )
        reviewed = self._peers.safety_review.EraseRecords(
            safety_review_pb2.EraseRecordsRequest(
                erasure_id=erasure.erasure_id,
                organization_id=erasure.organization_id,
                record_ids=page.record_ids,
            )
        )
        told = replace(erasure, told_token=page.next_page_token, told=erasure.told + len(page.record_ids))
        if not page.next_page_token:
            is_first = erasure.state is SubjectState.FORGETTING
            told = replace(told, state=SubjectState.CERTIFYING if is_first else SubjectState.CERTIFYING_REST)
        with self._at(erasure) as tx:
            for receipt in (
                Receipt(
                    "access_control",
                    withheld.withheld_at.ToDatetime(tzinfo=UTC),
                    {"keys_withheld": withheld.withheld},
                ),
                Receipt("safety_review", reviewed.erased_at.ToDatetime(tzinfo=UTC), dict(reviewed.removed)),
            ):
                rows.save_receipt(tx, erasure.erasure_id, receipt)
            rows.save(tx, told)
        return True

    def _certify(self, erasure: SubjectErasure) -> bool:
        with self._database.transaction() as tx:
            signed = certificate_rows.of_act(tx, erasure.erasure_id)
        is_further = erasure.state is SubjectState.CERTIFYING_REST
        certificate = next((one for one in signed if one.is_further is is_further), None)
        if certificate is None:
            first = completed(signed, erasure.erasure_id, erasure.organization_id)
            return self._sign(erasure, first if is_further else "")
        if certificate.envelope is None:
            return False
        done = replace(
            erasure,
            state=SubjectState.DONE,
            ended_at=erasure.ended_at or self._clock.now(),
            is_complete=not erasure.is_kept,
        )
        if done.is_complete:  # everybody knows which records are gone: nobody needs to any more
            self._peers.logging.ForgetErasedRecords(
                logging_pb2.ForgetErasedRecordsRequest(erasure_id=erasure.erasure_id)
            )
        with self._at(erasure) as tx:
            rows.save(tx, done)
            facts: dict[str, str | bool] = {"certificate_id": certificate.certificate_id}
            if not is_further:
                facts["kept"] = done.is_kept
            kind = "subject_erasure.completed" if is_further else "subject_erasure.ended"
            self._entries.write(tx, done, kind, _ACTOR, at=None if is_further else done.ended_at, **facts)
        return False

    def _sign(self, erasure: SubjectErasure, completes: str) -> bool:
        status = self._status(erasure)
        removed = sum(day.removed for day in status.days)
        if removed != erasure.told:
            # A hold ended while the others were told: they are told from the beginning, which costs them nothing.
            again = SubjectState.COMPLETING if completes else SubjectState.FORGETTING
            with self._at(erasure) as tx:
                rows.save(tx, replace(erasure, state=again, told_token="", told=0))
            return True
        if completes and status.held:
            return self._wait(erasure, status)
        fenced_at = erasure.fenced_at or status.fenced_at.ToDatetime(tzinfo=UTC)
        kept = replace(erasure, is_kept=bool(status.held), fenced_at=fenced_at)
        with self._at(erasure) as tx:
            if all(receipt.service != "logging" for receipt in erasure.receipts):  # lost with a database
                rows.save_receipt(tx, erasure.erasure_id, _logged(status))
            rows.save_holds(tx, erasure.erasure_id, _held_by(status))
            rows.save(tx, kept)
            current = rows.get(tx, erasure.erasure_id) or kept
            self._certifier.issue(tx, self._statement(tx, current, status, completes))
        return False

    def _resume(self, erasure: SubjectErasure) -> bool:
        """What follows the end of the last hold. Another may keep the same records by now."""
        status = self._status(erasure)
        if status.held:
            return self._wait(erasure, status)
        with self._at(erasure) as tx:
            rows.save(tx, replace(erasure, state=SubjectState.COMPLETING, told_token="", told=0))
        return True

    def _wait(self, erasure: SubjectErasure, status: logging_pb2.SubjectErasure) -> bool:
        with self._at(erasure) as tx:
            rows.save_holds(tx, erasure.erasure_id, _held_by(status))
            rows.save(tx, replace(erasure, state=SubjectState.DONE))
        return False

    def _status(self, erasure: SubjectErasure) -> logging_pb2.SubjectErasure:
        return self._peers.logging.GetSubjectErasure(
            logging_pb2.GetSubjectErasureRequest(erasure_id=erasure.erasure_id)
        ).erasure

    def _statement(
        self, tx: Tx, erasure: SubjectErasure, status: logging_pb2.SubjectErasure, completes: str
    ) -> Statement:
        rule = self._rules.of_in(tx, erasure.organization_id)
        own = [self._rules.of_in(tx, lot) for lot in self._rules.applications_in(tx, erasure.organization_id)]
        records = dict(erasure.held_by)
        named = hold_rows.named(tx, list(records))
        sealed = sealed_copies(
            [rule, *own], [(date.fromisoformat(day.day), day.removed_with_content) for day in status.days]
        )
        removed = sum(day.removed for day in status.days)
        return Statement(
            organization_id=erasure.organization_id,
            act_id=erasure.erasure_id,
            started_at=erasure.started_at,
            rule=rule,
            through_day=None,
            days=[
                CertifiedDay(date.fromisoformat(day.day), (), (), day.removed, day.held)
                for day in status.days
            ],
            destructions=[hold.destruction for hold in named if hold.destruction.destroyed_at is not None],
            removed_at=max(
                (
                    *(receipt.erased_at for receipt in erasure.receipts),
                    *(hold.ended_at for hold in named if hold.ended_at is not None),
                ),
                default=None,
            ),
            removed=removed,
            held=status.held,
            holds=[
                HoldNamed(hold.hold_id, hold.kind, records[hold.hold_id], hold.ended_at) for hold in named
            ],
            receipts=erasure.receipts,
            kept=kept_sentences(erasure, named),
            completes=completes,
            subject=SubjectNamed(
                erasure.commitment,
                erasure.fenced_at or erasure.started_at,
                sealed,
                copy_sentences(sealed, removed),
            ),
        )


def _logged(answer: logging_pb2.SubjectErasure) -> Receipt:
    return Receipt("logging", answer.erased_at.ToDatetime(tzinfo=UTC), dict(answer.removed), answer.held)


def _held_by(answer: logging_pb2.SubjectErasure) -> Sequence[tuple[str, int]]:
    return [(hold.hold_id, hold.records) for hold in answer.holds]

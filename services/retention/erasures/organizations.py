"""Carries the end of an organization's data: closed, keys destroyed, erased everywhere, certified; completed when the last hold ends.

Like a run's, each step is one bounded piece of work that can be done again; no transaction is open during a call, and what came of it is
written if the erasure, locked now, is still as it was read.
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Final

from kept.access_control.v1 import keys_pb2
from kept.logging.v1 import lifecycle_pb2 as logging_pb2
from kept.settings.v1 import lifecycle_pb2 as settings_pb2
from services.retention.certificates import destructions
from services.retention.certificates.certificate import (
    MOST_HOLDS,
    Certificate,
    CertifiedDay,
    HoldNamed,
    Statement,
    completed,
)
from services.retention.certificates.certification import Certifier
from services.retention.erasures.entries import ErasureEntries
from services.retention.erasures.erasing import ERASE
from services.retention.erasures.organization_states import Erasure, ErasureState
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold
from services.retention.holds.sweeping import Gate, before_keys
from services.retention.peers import Peers
from services.retention.rules import RuleBook
from services.retention.steps import Overtaken, unchanged
from services.retention.store import Tx
from services.retention.store import certificates as certificate_rows
from services.retention.store import erasures as rows
from services.retention.store import keeping as hold_rows
from shared.clock import Clock
from shared.database import Database, after_commit
from shared.errors import KeptError, Reason, not_found
from shared.ids import new_id
from shared.jobs import Attempts, Job
from shared.outbox import Outbox

_ACTOR: Final = "service:retention"
_BATCH: Final = 10
# As often as safety review itself looks for what it need not keep any more.
_ASKED_AGAIN: Final = timedelta(minutes=10)
_PAGE: Final = 1000


@dataclass(frozen=True)
class ErasureOrder:
    """A confirmed deletion. claim_sha256: 32 bytes; the claim itself stays with the admin."""

    organization_id: str
    account_deletion_id: str
    confirmed_by: str
    claim_sha256: bytes


@dataclass(frozen=True)
class ErasureView:
    """An erasure as it is shown. kept: what remains and why; certificate: the newest complete one."""

    erasure: Erasure
    kept: tuple[str, ...]
    certificate: Certificate | None


class Erasures:
    """Begins, carries and shows erasures."""

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
        self.job = Job("erasures", timedelta(seconds=1), self.step)

    def begin(self, order: ErasureOrder, actor: str) -> ErasureView:
        """Begins an organization's erasure, or gives the one that there is: the first claim stays. Raises CONFLICT for a claim that
        belongs to another organization's, UNKNOWN_ORGANIZATION, and what access control answers with when it cannot say."""
        with self._database.transaction() as tx:
            is_begun = rows.of_organization(tx, order.organization_id) is not None
        if not is_begun:
            self._peers.require_organization(order.organization_id)
        now = self._clock.now()
        made = Erasure(
            erasure_id=new_id("erasure"),
            organization_id=order.organization_id,
            account_deletion_id=order.account_deletion_id,
            confirmed_by=order.confirmed_by,
            claim_sha256=order.claim_sha256,
            state=ErasureState.CLOSING,
            started_at=now,
        )
        with self._database.transaction() as tx:
            if rows.add(tx, made):
                self._entries.write(
                    tx,
                    made,
                    "erasure.started",
                    actor,
                    at=made.started_at,
                    account_deletion_id=made.account_deletion_id,
                    confirmed_by=made.confirmed_by,
                )
                after_commit(tx, self.job.wake.set)
            erasure = rows.of_organization(tx, order.organization_id)
            if erasure is None:
                raise KeptError(Reason.REASON_CONFLICT, "The claim belongs to another erasure.")
            return self._view(tx, erasure)

    def get(self, erasure_id: str) -> ErasureView:
        """One erasure. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            erasure = rows.get(tx, erasure_id)
            if erasure is None:
                raise not_found("erasure")
            return self._view(tx, erasure)

    def get_by_claim(self, claim: str) -> ErasureView:
        """The erasure of a claim; every claim is hashed and looked up the same way. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            erasure = rows.by_claim(tx, hashlib.sha256(claim.encode()).digest())
            if erasure is None:
                raise not_found("erasure")
            return self._view(tx, erasure)

    def _view(self, tx: Tx, erasure: Erasure) -> ErasureView:
        certificate = certificate_rows.newest_complete(tx, erasure.erasure_id)
        kept = self._kept(tx, erasure)
        return ErasureView(erasure, tuple(kept), certificate)

    @staticmethod
    def _kept(tx: Tx, erasure: Erasure) -> list[str]:
        return kept_sentences(erasure, *hold_rows.standing(tx, erasure.organization_id, MOST_HOLDS))

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
                case ErasureState.CLOSING:
                    return self._close(erasure)
                case ErasureState.DESTROYING_KEYS:
                    return self._destroy(erasure)
                case ErasureState.ERASING:
                    return self._erase(erasure)
                case ErasureState.CERTIFYING:
                    return self._certify(erasure)
                case ErasureState.DONE:
                    return self._complete(erasure)
        except Overtaken:
            return True

    def _at(self, erasure: Erasure) -> AbstractContextManager[Tx]:
        """See `unchanged`."""
        return unchanged(self._database, rows.lock, erasure.erasure_id, erasure)

    def _close(self, erasure: Erasure) -> bool:
        if erasure.closes_at is None:
            answer = self._peers.settings.CloseOrganization(
                settings_pb2.CloseOrganizationRequest(
                    organization_id=erasure.organization_id, erasure_id=erasure.erasure_id
                )
            )
            with self._at(erasure) as tx:
                rows.save(tx, replace(erasure, closes_at=answer.effective_at.ToDatetime(tzinfo=UTC)))
            return True
        if self._clock.now() < erasure.closes_at:
            return False
        with self._at(erasure) as tx:
            gate = before_keys(tx, erasure.organization_id, erasure.fenced_at, self._clock.now())
            if gate is Gate.OPEN:
                rows.save(tx, erasure.next())
        if gate is not Gate.FENCE:
            return gate is Gate.OPEN
        raised = self._peers.logging.RaiseFence(
            logging_pb2.RaiseFenceRequest(
                organization_id=erasure.organization_id, erasure_id=erasure.erasure_id
            )
        )
        with self._at(erasure) as tx:
            rows.save(tx, replace(erasure, fenced_at=raised.fenced_at.ToDatetime(tzinfo=UTC)))
        return True

    def _destroy(self, erasure: Erasure) -> bool:
        answer = self._peers.keys.DestroyEpochs(
            keys_pb2.DestroyEpochsRequest(
                destruction_id=erasure.erasure_id, organization_id=erasure.organization_id
            )
        ).destruction
        destruction = destructions.from_message(erasure.erasure_id, answer)
        if destruction is None:
            return False
        destroyed = replace(erasure, destruction=destruction, epochs_destroyed=answer.epochs)
        with self._at(erasure) as tx:
            # Of a hold that is being told of logging would count some as removed, and some as held. Whoever tells of one waits in turn
            # until logging has erased (`Discloser.disclose`).
            is_any_being_told = hold_rows.any_being_told(tx, erasure.organization_id)
            if not is_any_being_told:
                rows.save(tx, destroyed.next())
        return not is_any_being_told

    def _erase(self, erasure: Erasure) -> bool:
        for service, erase in ERASE.items():
            if erasure.receipt(service) is None:
                receipt = erase(self._peers, erasure.organization_id, erasure.erasure_id)
                with self._at(erasure) as tx:
                    rows.add_receipt(tx, erasure.erasure_id, receipt)
                return True
        with self._at(erasure) as tx:
            rows.save(tx, erasure.next())
        return True

    def _certify(self, erasure: Erasure) -> bool:
        with self._database.transaction() as tx:
            signed = certificate_rows.of_act(tx, erasure.erasure_id)
            is_behind = hold_rows.any_ending_again(tx, erasure.organization_id)
        if not signed and is_behind:
            return False
        if not signed:
            epochs = self._destroyed_epochs(erasure)
            with self._at(erasure) as tx:
                certificate_rows.add_epochs(tx, erasure.erasure_id, erasure.erasure_id, epochs)
                if (
                    erasure.is_kept
                ):  # the first was signed, and lost with a database: what it said is not so any more
                    rows.save(tx, erasure.next(erasure.ended_at))
                    return False
                standing = hold_rows.any_standing(tx, erasure.organization_id)
                kept = standing or any(receipt.kept for receipt in erasure.receipts)
                rows.save(tx, replace(erasure, is_kept=kept))
                self._certifier.issue(tx, self._statement(tx, erasure, completes=""))
            return False
        if signed[0].envelope is None:
            return False
        done = replace(erasure.next(erasure.ended_at or self._clock.now()), is_complete=not erasure.is_kept)
        with self._at(erasure) as tx:
            rows.save(tx, done)
            if erasure.ended_at is None:  # else the log says so already
                named = signed[0].certificate_id
                at, kept = done.ended_at, done.is_kept
                self._entries.write(tx, done, "erasure.ended", _ACTOR, at=at, certificate_id=named, kept=kept)
        return not done.is_complete

    def _complete(self, erasure: Erasure) -> bool:
        """What follows the end of the last hold: whoever kept something with it erases once more, and a further certificate says that
        it is gone. As long as any of them still keeps something nothing is certified, and they are asked again after a while."""
        with self._database.transaction() as tx:
            signed = certificate_rows.of_act(tx, erasure.erasure_id)
            is_held = hold_rows.any_standing(tx, erasure.organization_id)
        if not any(each.is_further for each in signed):
            if is_held:
                return False
            kept = {
                service: ERASE[service](self._peers, erasure.organization_id, erasure.erasure_id).kept
                for service in ("logging", "safety_review")
            }
            now_kept = erasure.keeping(kept)
            with self._at(erasure) as tx:
                rows.save_kept(tx, now_kept)
                if any(kept.values()):
                    rows.put_off(tx, erasure.erasure_id, self._clock.now() + _ASKED_AGAIN)
                    return False
                first = completed(signed, erasure.erasure_id, erasure.organization_id)
                self._certifier.issue(tx, self._statement(tx, now_kept, completes=first))
            return False
        if signed[-1].envelope is None:
            return False
        with self._at(erasure) as tx:
            rows.save(tx, replace(erasure, is_complete=True))
            self._entries.write(
                tx, erasure, "erasure.completed", _ACTOR, certificate_id=signed[-1].certificate_id
            )
        return False

    def _destroyed_epochs(self, erasure: Erasure) -> list[keys_pb2.DestroyedEpoch]:
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

    def _statement(self, tx: Tx, erasure: Erasure, *, completes: str) -> Statement:
        organization_id = erasure.organization_id
        epochs = certificate_rows.epochs(tx, erasure.erasure_id, organization_id)
        days = [
            CertifiedDay(
                day, tuple(one.epoch_key_id for one in epochs if one.day == day), (erasure.erasure_id,)
            )
            for day in sorted({one.day for one in epochs})
        ]
        logged = erasure.receipt("logging")
        told_at = erasure.started_at if logged is None else logged.erased_at
        totals = hold_rows.totals(tx, organization_id, erasure.started_at, told_at)
        concerned, more = hold_rows.kept_since(tx, organization_id, erasure.started_at, MOST_HOLDS)
        return Statement(
            organization_id=organization_id,
            act_id=erasure.erasure_id,
            started_at=erasure.started_at,
            rule=self._rules.of_in(tx, erasure.organization_id),
            through_day=None,
            days=days,
            destructions=[
                *([erasure.destruction] if epochs else []),
                *(hold.destruction for hold in concerned if hold.destruction.destroyed_at is not None),
            ],
            removed_at=max(
                (
                    *(receipt.erased_at for receipt in erasure.receipts),
                    *([totals.ended_at] if totals.ended_at is not None else []),
                ),
                default=None,
            ),
            removed=(logged.removed.get("interactions", 0) if logged else 0) + totals.removed,
            held=totals.kept,
            holds=[
                HoldNamed(
                    hold.hold_id,
                    hold.kind,
                    hold.kept_count if hold.is_kept_known else None,
                    hold.ended_at,
                    hold.removed if hold.is_over and hold.is_counted(told_at) else None,
                )
                for hold in concerned
            ],
            more_holds=more,
            receipts=erasure.receipts,
            kept=self._kept(tx, erasure),
            completes=completes,
        )


def kept_sentences(erasure: Erasure, standing: list[Hold], more: int) -> list[str]:
    """What remains and why, in sentences; empty when nothing does. more: how many holds beside these keep something."""
    sentences = holds.kept_sentences(standing)
    if more:
        sentences.append(f"{more} more holds keep something.")
    reviewed = erasure.receipt("safety_review")
    # Of an erasure that the version before completed, and of one that was restored, the number is that of the first answer.
    if reviewed is not None and reviewed.kept and not erasure.is_complete:
        sentences.append(
            "In safety review 1 case stays until it is dismissed or the time of its hold is over."
            if reviewed.kept == 1
            else f"In safety review {reviewed.kept} cases stay until they are dismissed or the time of their holds is over."
        )
    return sentences

"""The end of an organization's account, by its own admin: asked for, confirmed by a typed sentence, taken back while there is grace,
then handed to retention.

Whether a deletion is taken back or handed over is decided under its row's lock, before retention hears of it: the hand-over is a message
of the outbox, in the transaction that makes the deletion final.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kept.retention.v1 import erasures_pb2
from kept.settings.v1 import account_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.accounts.tokens import fingerprint, new_token
from services.settings.store import Tx
from services.settings.store import account_deletions as store
from services.settings.store.account_deletions import AccountDeletion
from services.settings.telling.notifications import Ids, Notifications
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Outbox
from shared.redaction import Secret

# The outbox's kind of message that hands a deletion to retention.
ERASURE: Final = "erasure"
_ACTOR: Final = "service:settings"
_BATCH: Final = 50
_REQUESTED = account_pb2.ACCOUNT_DELETION_STATE_REQUESTED
_CONFIRMED = account_pb2.ACCOUNT_DELETION_STATE_CONFIRMED
_ERASING = account_pb2.ACCOUNT_DELETION_STATE_ERASING
_CANCELLED = account_pb2.ACCOUNT_DELETION_STATE_CANCELLED


def confirmation_sentence(display_name: str) -> str:
    """What has to be typed."""
    return f"erase {display_name} for ever"


def erasure_order(deletion: AccountDeletion) -> erasures_pb2.EraseOrganizationRequest:
    """What retention is asked for, of a confirmed deletion. Where its claim was lost with a database, with a digest of 32 bytes that is no
    claim's: the erasure is carried out all the same, and nobody's claim opens it."""
    lost = hashlib.sha256(b"lost with a database: " + deletion.account_deletion_id.encode()).digest()
    return erasures_pb2.EraseOrganizationRequest(
        organization_id=deletion.organization_id,
        account_deletion_id=deletion.account_deletion_id,
        confirmed_by=deletion.confirmed_by or "",
        claim_sha256=deletion.claim_sha256 or lost,
    )


def require_repeated(sentence: str, typed: str) -> None:
    """Raises CONFIRMATION_MISMATCH unless the words are the same, in the same order and letter case; spacing does not matter."""
    if typed.split() != sentence.split():
        raise KeptError(
            Reason.REASON_CONFIRMATION_MISMATCH,
            "The sentence does not repeat what was asked for, word by word.",
        )


def require_revocable(deletion: AccountDeletion, now: datetime) -> None:
    """Raises WRONG_STATE unless the deletion can still be taken back."""
    in_grace = deletion.state == _CONFIRMED and deletion.erases_at is not None and now < deletion.erases_at
    if deletion.state != _REQUESTED and not in_grace:
        raise _wrong(deletion, "The deletion cannot be taken back any more.")


def _wrong(deletion: AccountDeletion, text: str) -> KeptError:
    return wrong_state(text, account_pb2.AccountDeletionState.Name(deletion.state))


class AccountDeletions:
    """The deletions of all organizations. grace: how long a confirmed one can be taken back."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        notifications: Notifications,
        *,
        grace: timedelta,
    ) -> None:
        self._notifications = notifications
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._grace = grace
        self.job = Job("account_deletions", timedelta(seconds=5), self.hand_over_due)

    def request(self, caller: Caller, organization_id: str) -> AccountDeletion:
        """Begins a deletion, or finds the one that waits for its confirmation. Raises WRONG_STATE once one is confirmed,
        ADMIN_REQUIRED, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, organization_id)
            known = store.newest(tx, organization_id)
            if known is not None and known.state == _REQUESTED:
                return known
            if known is not None and known.state != _CANCELLED:
                raise _wrong(known, "The account's deletion is confirmed already.")
            deletion = AccountDeletion(
                account_deletion_id=new_id("deletion"),
                organization_id=organization_id,
                state=_REQUESTED,
                confirmation_sentence=confirmation_sentence(organization.display_name),
                requested_by=caller.actor,
                requested_at=self._clock.now(),
            )
            store.add(tx, deletion)
            self._audit(tx, "account_deletion.requested", caller.actor, deletion)
            return deletion

    def confirm(self, caller: Caller, deletion_id: str, typed: str) -> tuple[AccountDeletion, Secret]:
        """Confirms; the claim is shown to nobody again. Raises NOT_FOUND, WRONG_STATE, CONFIRMATION_MISMATCH,
        ADMIN_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, caller.organization_id)
            deletion = self._own(tx, caller, deletion_id)
            if deletion.state != _REQUESTED:
                raise _wrong(deletion, "Only a deletion that waits for its confirmation can be confirmed.")
            require_repeated(deletion.confirmation_sentence, typed)
            claim = new_token()
            now = self._clock.now()
            deletion = replace(
                deletion,
                state=_CONFIRMED,
                confirmed_by=caller.actor,
                confirmed_at=now,
                erases_at=now + self._grace,
                claim_sha256=fingerprint(claim),
            )
            store.update_to(tx, deletion)
            self._audit(tx, "account_deletion.confirmed", caller.actor, deletion)
            self._tell(tx, "account_deletion.confirmed", caller.actor, deletion)
            if not self._grace:
                deletion = self._hand_over(tx, deletion)
            return deletion, claim

    def cancel(self, caller: Caller, deletion_id: str) -> AccountDeletion:
        """Takes a deletion back; one that was taken back already stays so. Raises NOT_FOUND, WRONG_STATE, ADMIN_REQUIRED,
        CLOSED."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, caller.organization_id)
            deletion = self._own(tx, caller, deletion_id)
            if deletion.state == _CANCELLED:
                return deletion
            require_revocable(deletion, self._clock.now())
            deletion = replace(
                deletion,
                state=_CANCELLED,
                erases_at=None,
                claim_sha256=None,
                cancelled_by=caller.actor,
                cancelled_at=self._clock.now(),
            )
            store.update_to(tx, deletion)
            self._audit(tx, "account_deletion.cancelled", caller.actor, deletion)
            self._tell(tx, "account_deletion.cancelled", caller.actor, deletion)
            return deletion

    def newest(self, organization_id: str) -> AccountDeletion:
        """The organization's newest deletion. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            deletion = store.newest(tx, organization_id)
        if deletion is None:
            raise not_found("account_deletion")
        return deletion

    def taken_over(self, account_deletion_id: str, erasure_id: str) -> None:
        """Retention has begun; nothing where the organization is erased already."""
        with self._database.transaction() as tx:
            store.set_erasure(tx, account_deletion_id, erasure_id)

    def hand_over_due(self) -> bool:
        """Hands deletions whose grace period is over to retention. True when there may be more."""
        with self._database.transaction() as tx:
            due = store.lock_due(tx, self._clock.now(), _BATCH)
            for deletion in due:
                self._hand_over(tx, deletion)
        return len(due) == _BATCH

    def _hand_over(self, tx: Tx, deletion: AccountDeletion) -> AccountDeletion:
        deletion = replace(deletion, state=_ERASING)
        store.update_to(tx, deletion)
        self._outbox.put(tx, ERASURE, erasure_order(deletion))
        self._audit(tx, "account_deletion.handed_over", _ACTOR, deletion)
        self._tell(tx, "account_deletion.handed_over", _ACTOR, deletion)
        return deletion

    def _tell(self, tx: Tx, event: str, actor: str, deletion: AccountDeletion) -> None:
        self._notifications.emit(
            tx,
            event,
            Ids(
                organization_id=deletion.organization_id,
                subject_id=deletion.account_deletion_id,
                actor=actor,
                tell="CUSTOMER",
                state=short_name(account_pb2.AccountDeletionState, deletion.state),
                due_at=deletion.erases_at,
            ),
        )

    def _own(self, tx: Tx, caller: Caller, deletion_id: str) -> AccountDeletion:
        deletion = store.lock(tx, deletion_id)
        if deletion is None or deletion.organization_id != caller.organization_id:
            raise not_found("account_deletion")
        return deletion

    def _audit(self, tx: Tx, kind: str, actor: str, deletion: AccountDeletion) -> None:
        facts: dict[str, str | int | bool] = {}
        if deletion.erases_at is not None:
            facts["erases_at"] = deletion.erases_at.isoformat()
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=deletion.organization_id,
                subjects=[deletion.account_deletion_id],
                facts=facts,
            ),
        )

"""Deletions of accounts, as the audit log tells of them: one that was taken back since is not handed over, and one that was confirmed or
handed over since is. The claim that its admin got is not in the log; where retention was not told of it either, the certificate is found by
an auditor."""

from dataclasses import replace

from kept.access_control.v1 import audit_pb2
from kept.settings.v1 import account_pb2
from services.settings.organizations.account_deletion import ERASURE, confirmation_sentence, erasure_order
from services.settings.replay.organizations import at, fact_time
from services.settings.store import Tx, organizations
from services.settings.store import account_deletions as store
from services.settings.store.account_deletions import AccountDeletion
from shared.outbox import Outbox
from shared.outbox.replay import Apply

_REQUESTED = account_pb2.ACCOUNT_DELETION_STATE_REQUESTED
_CONFIRMED = account_pb2.ACCOUNT_DELETION_STATE_CONFIRMED


def applies(outbox: Outbox) -> dict[str, Apply]:
    """By kind of entry."""

    def handed_over(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """Retention is told once more, for the message may have been lost with the database. It knows an erasure by its organization, keeps
        the first claim, and closes the organization here."""
        known = _own(tx, entry)
        if known is not None and known.state == _CONFIRMED:
            store.update_to(tx, replace(known, state=account_pb2.ACCOUNT_DELETION_STATE_ERASING))
            outbox.put(tx, ERASURE, erasure_order(known))

    return {
        "account_deletion.requested": _requested,
        "account_deletion.confirmed": _confirmed,
        "account_deletion.cancelled": _cancelled,
        "account_deletion.handed_over": handed_over,
    }


def _requested(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    organization = organizations.lock(tx, entry.organization_id)
    if organization is not None and store.lock(tx, entry.subjects[0]) is None:
        store.add(
            tx,
            AccountDeletion(
                account_deletion_id=entry.subjects[0],
                organization_id=entry.organization_id,
                state=_REQUESTED,
                confirmation_sentence=confirmation_sentence(organization.display_name),
                requested_by=entry.actor,
                requested_at=at(entry),
            ),
        )


def _confirmed(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    known = _own(tx, entry)
    if known is not None and known.state == _REQUESTED:
        store.update_to(
            tx,
            replace(
                known,
                state=_CONFIRMED,
                confirmed_by=entry.actor,
                confirmed_at=at(entry),
                erases_at=fact_time(entry, "erases_at"),
            ),
        )


def _cancelled(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    known = _own(tx, entry)
    if known is not None and known.state in (_REQUESTED, _CONFIRMED):
        store.update_to(
            tx,
            replace(
                known,
                state=account_pb2.ACCOUNT_DELETION_STATE_CANCELLED,
                erases_at=None,
                claim_sha256=None,
                cancelled_by=entry.actor,
                cancelled_at=at(entry),
            ),
        )


def _own(tx: Tx, entry: audit_pb2.AuditEntry) -> AccountDeletion | None:
    organizations.lock(tx, entry.organization_id)
    return store.lock(tx, entry.subjects[0])

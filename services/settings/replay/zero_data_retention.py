"""Requests for zero data retention, as the audit log tells of them. What people wrote as their reasons is not in it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from kept.access_control.v1 import audit_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.policies import Policies
from services.settings.replay.organizations import approval_required, at, fact_time, is_true
from services.settings.store import Tx, organizations
from services.settings.store import zero_data_retention as store
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.zero_data_retention import CONTENT_ERASURE, content_order
from shared.outbox import Outbox
from shared.outbox.replay import Apply
from shared.voices import Voice, counting, people

_REQUESTED = contract.ZERO_DATA_RETENTION_STATE_REQUESTED
_APPROVED = contract.ZERO_DATA_RETENTION_STATE_APPROVED
_WITHDRAWN = contract.ZERO_DATA_RETENTION_STATE_WITHDRAWN
_BY_VENDOR = contract.ZERO_DATA_RETENTION_END_VENDOR
# Neither is called off, and the vendor's gives way to the admin's only: where one stands, what the vendor announced is known, or over.
_STAYING = (contract.ZERO_DATA_RETENTION_END_ADMIN, _BY_VENDOR)


def applies(policies: Policies, outbox: Outbox) -> dict[str, Apply]:
    """By kind of entry."""
    made = _Requests(policies, outbox)
    return {
        "zero_data_retention.requested": _requested,
        "zero_data_retention.approved": _approved,
        "zero_data_retention.decided": made.decided,
        "zero_data_retention.withdrawn": _withdrawn,
        "zero_data_retention.end_approved": _end_approved,
        "zero_data_retention.end_announced": _end_announced,
        "zero_data_retention.end_called_off": _end_called_off,
        "zero_data_retention.ended": made.ended,
    }


def _requested(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    organization = organizations.lock(tx, entry.organization_id)
    if organization is None or store.find(tx, entry.subjects[0]) is not None:
        return
    store.add(
        tx,
        ZdrRequest(
            request_id=entry.subjects[0],
            organization_id=entry.organization_id,
            state=_REQUESTED,
            commitments_version=entry.facts["commitments_version"],
            requested_by=entry.actor,
            requested_at=at(entry),
            copied_to=organization.sales_representative if "copied" in entry.facts else "",
            erase_logged_before=entry.facts.get("erase_logged_before") == "true",
        ),
    )


def _approved(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    request = _open(tx, entry)
    if request is not None and not _is_known(request.approvals, entry):
        store.add_decision(tx, request, entry.actor, True, "", at(entry))


def _withdrawn(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    request = _open(tx, entry)
    if request is not None:
        store.change(tx, replace(request, state=_WITHDRAWN))


def _end_approved(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    request = _in_force(tx, entry)
    if request is None:
        return
    # An announced end came with the voice, and is known by itself: the instants of voices may be those of migration 0019, later than it.
    names_end = "ends_at" in entry.facts
    if request.end_cause in _STAYING if names_end else _is_known(request.end_approvals, entry):
        return
    others = [voice for voice in counting(request.end_approvals, at(entry)) if voice.person_id != entry.actor]
    changed = replace(request, end_approvals=(*others, Voice(entry.actor, at(entry))))
    if names_end:
        changed = replace(changed, ends_at=fact_time(entry, "ends_at"), end_cause=_BY_VENDOR)
    store.change(tx, changed)


def _is_known(voices: Iterable[Voice], entry: audit_pb2.AuditEntry) -> bool:
    """Nobody speaks again as long as what she said counts; and who spoke before somebody else is in no newer state missing."""
    then = at(entry)
    return entry.actor in people(counting(voices, then)) or any(
        voice.given_at is not None and voice.given_at > then for voice in voices
    )


def _end_announced(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    request = _in_force(tx, entry)
    if request is not None:
        cause = contract.ZeroDataRetentionEnd.Value(entry.facts["cause"])
        store.change(tx, replace(request, ends_at=fact_time(entry, "ends_at"), end_cause=cause))


def _end_called_off(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    request = _in_force(tx, entry)
    if request is not None:
        no_end = contract.ZERO_DATA_RETENTION_END_UNSPECIFIED
        store.change(tx, replace(request, ends_at=None, end_cause=no_end))


def _in_force(tx: Tx, entry: audit_pb2.AuditEntry) -> ZdrRequest | None:
    organizations.lock(tx, entry.organization_id)
    request = store.find(tx, entry.subjects[0])
    return request if request is not None and request.state == _APPROVED else None


def _open(tx: Tx, entry: audit_pb2.AuditEntry) -> ZdrRequest | None:
    organizations.lock(tx, entry.organization_id)
    request = store.find(tx, entry.subjects[0])
    return request if request is not None and request.state == _REQUESTED else None


class _Requests:
    def __init__(self, policies: Policies, outbox: Outbox) -> None:
        self._policies = policies
        self._outbox = outbox

    def decided(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        request = _open(tx, entry)
        if request is None:
            return
        if not is_true(entry, "approved"):
            store.end(tx, request.request_id, contract.ZERO_DATA_RETENTION_STATE_DENIED, None)
            return
        since = self._put(tx, entry, is_on=True)
        store.end(tx, request.request_id, _APPROVED, since)
        if request.erase_logged_before and since is not None:
            self._erase_before(tx, request, since)

    def _erase_before(self, tx: Tx, request: ZdrRequest, since: datetime) -> None:
        """As when it was decided. Retention knows the order by the request, and is told of it again."""
        organization = organizations.lock(tx, request.organization_id)
        if organization is None:
            return
        organizations.set_content_erased_before(tx, request.organization_id, since)
        self._policies.publish_organization(
            tx,
            replace(organization, content_erased_before=since),
            approval_required(tx, request.organization_id),
            since,
        )
        self._outbox.put(tx, CONTENT_ERASURE, content_order(request, since))

    def ended(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        organizations.lock(tx, entry.organization_id)
        request = store.find(tx, entry.subjects[0])
        if request is not None and request.state == _APPROVED:
            since = self._put(tx, entry, is_on=False)
            ended = contract.ZERO_DATA_RETENTION_STATE_ENDED
            store.change(tx, replace(request, state=ended, end_effective_at=since))

    def _put(self, tx: Tx, entry: audit_pb2.AuditEntry, *, is_on: bool) -> datetime | None:
        organization = organizations.lock(tx, entry.organization_id)
        if organization is None:
            return None
        organizations.set_zero_data_retention(tx, entry.organization_id, is_on)
        return self._policies.publish_organization(
            tx,
            replace(organization, zero_data_retention=is_on),
            approval_required(tx, entry.organization_id),
            fact_time(entry),
        )

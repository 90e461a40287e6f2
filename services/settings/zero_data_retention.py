"""Zero data retention: asked for by an admin, decided by two people, in force everywhere from a stated instant on, until it is ended: by
the admin at once, by two of the vendor's people after a notice.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Final

from kept.settings.v1 import organizations_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.commitments import Commitments
from services.settings.lifecycle import active
from services.settings.notifications import Ids, Notifications
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations
from services.settings.store import zero_data_retention as store
from services.settings.store.organizations import Organization
from services.settings.store.zero_data_retention import ZdrRequest
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Outbox

_APPROVALS_NEEDED: Final = 2
_MOST_LISTED: Final = 1000
_REQUESTED = contract.ZERO_DATA_RETENTION_STATE_REQUESTED
_APPROVED = contract.ZERO_DATA_RETENTION_STATE_APPROVED
_DENIED = contract.ZERO_DATA_RETENTION_STATE_DENIED
_ENDED = contract.ZERO_DATA_RETENTION_STATE_ENDED
_WITHDRAWN = contract.ZERO_DATA_RETENTION_STATE_WITHDRAWN
_ACTOR: Final = "service:settings"
_BATCH: Final = 50
_SECONDS: Final = "%Y-%m-%d %H:%M:%S"


def require_eligible(organization: Organization) -> None:
    """Raises NOT_ELIGIBLE unless the organization pays and its models run on the vendor's own platform."""
    if (
        organization.tier != organizations_pb2.TIER_PAYING
        or organization.deployment != organizations_pb2.DEPLOYMENT_SAAS
    ):
        raise KeptError(
            Reason.REASON_NOT_ELIGIBLE,
            "Zero data retention is for paying organizations whose models run on the vendor's own platform.",
            metadata={
                "tier": organizations_pb2.Tier.Name(organization.tier),
                "deployment": organizations_pb2.Deployment.Name(organization.deployment),
            },
        )


def require_undecided(request: ZdrRequest, person_id: str, approve: bool) -> None:
    """Raises WRONG_STATE for a request that is decided, SECOND_PERSON_REQUIRED for a second approval by the same person. Who has
    approved may still deny: a denial only ends the request."""
    if request.state != _REQUESTED:
        raise wrong_state(
            "The request is decided already.", contract.ZeroDataRetentionState.Name(request.state)
        )
    if approve and person_id in request.approved_by:
        raise KeptError(
            Reason.REASON_SECOND_PERSON_REQUIRED,
            "You have approved already; the second approval is another person's.",
        )


def content_note(tx: Tx, organization_id: str) -> str:
    """What an organization is told where a feature needs logged content: when zero data retention was or is in force; "" where it never
    was."""
    periods = [
        f"from {request.effective_at:{_SECONDS}} UTC"
        + (f" until {request.end_effective_at:{_SECONDS}} UTC" if request.end_effective_at else " on")
        for request in reversed(store.list_of(tx, organization_id, _MOST_LISTED))
        if request.state in (_APPROVED, _ENDED) and request.effective_at is not None
    ]
    if not periods:
        return ""
    return (
        f"Zero data retention is in force {', and '.join(periods)}: "
        "of what was created then there is log data and no content."
    )


class ZeroDataRetention:
    """The requests of all organizations. notice: how long before its end a customer is told that the vendor ends it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: Policies,
        outbox: Outbox,
        commitments: Commitments,
        notifications: Notifications,
        *,
        notice: timedelta,
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self._notifications = notifications
        self._notice = notice
        self.commitments = commitments
        self.job = Job("zero_data_retention", timedelta(seconds=5), self.end_due)

    def request(
        self, caller: Caller, organization_id: str, version: str, accepted: Collection[str]
    ) -> ZdrRequest:
        """Asks for it. Raises NOT_ELIGIBLE, COMMITMENTS_NOT_ACCEPTED, ALREADY_EXISTS while another request waits, WRONG_STATE where it
        is approved already, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = active(organizations.lock(tx, organization_id))
            require_eligible(organization)
            self.commitments.require_accepted(version, accepted)
            if organization.zero_data_retention:
                raise wrong_state(
                    "Zero data retention is approved already.",
                    contract.ZeroDataRetentionState.Name(_APPROVED),
                )
            if store.find_open(tx, organization_id) is not None:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "A request of this organization waits for its decision.",
                    metadata={"kind": "zero_data_retention_request"},
                )
            request = ZdrRequest(
                request_id=new_id("zdr"),
                organization_id=organization_id,
                state=_REQUESTED,
                commitments_version=version,
                requested_by=caller.actor,
                requested_at=self._clock.now(),
                copied_to=organization.sales_representative,
            )
            store.add(tx, request)
            facts: dict[str, str | int | bool] = {"commitments_version": version}
            if organization.sales_representative:
                # By function, not by name: entries outlive the account, names do not.
                facts["copied"] = "sales_representative"
            self._audit(tx, "zero_data_retention.requested", caller.actor, request, facts)
            self._tell(
                tx,
                "zero_data_retention.requested",
                caller.actor,
                request,
                "SALES_REPRESENTATIVE" if request.copied_to else "VENDOR",
            )
            return request

    def decide(self, caller: Caller, request_id: str, approve: bool, reason: str) -> ZdrRequest:
        """Takes one person's decision. Raises NOT_FOUND, WRONG_STATE, SECOND_PERSON_REQUIRED, NOT_ELIGIBLE, CLOSED."""
        with self._database.transaction() as tx:
            named = store.find(tx, request_id)
            if named is None:
                raise not_found("zero_data_retention_request")
            organization = active(organizations.lock(tx, named.organization_id))
            request = store.find(tx, request_id)  # again: it may have been decided before the lock was ours
            if request is None:
                raise not_found("zero_data_retention_request")
            require_undecided(request, caller.person_id, approve)
            store.add_decision(tx, request, caller.person_id, approve, reason, self._clock.now())
            if not approve:
                store.end(tx, request_id, _DENIED, None)
                request = replace(request, state=_DENIED)
                self._audit(tx, "zero_data_retention.denied", caller.actor, request, {})
                self._audit(tx, "zero_data_retention.decided", caller.actor, request, {"approved": False})
                self._tell(tx, "zero_data_retention.decided", caller.actor, request, "CUSTOMER")
                return request
            require_eligible(organization)
            request = replace(request, approved_by=(*request.approved_by, caller.person_id))
            self._audit(
                tx,
                "zero_data_retention.approved",
                caller.actor,
                request,
                {"approvals": len(request.approved_by), "needed": _APPROVALS_NEEDED},
            )
            if len(request.approved_by) == _APPROVALS_NEEDED:
                request = self._put_into_force(tx, caller, request, organization)
            return request

    def _put_into_force(
        self, tx: Tx, caller: Caller, request: ZdrRequest, organization: Organization
    ) -> ZdrRequest:
        organizations.set_zero_data_retention(tx, organization.organization_id, True)
        current = controls.newest(tx, organization.organization_id)
        effective_at = self._policies.publish_organization(
            tx,
            replace(organization, zero_data_retention=True),
            current is not None and current.require_customer_approval,
        )
        store.end(tx, request.request_id, _APPROVED, effective_at)
        request = replace(request, state=_APPROVED, effective_at=effective_at)
        self._audit(
            tx,
            "zero_data_retention.decided",
            caller.actor,
            request,
            {"approved": True, "effective_at": effective_at.isoformat()},
        )
        self._tell(tx, "zero_data_retention.decided", caller.actor, request, "CUSTOMER")
        return request

    def end(self, caller: Caller, request_id: str, reason: str) -> ZdrRequest:
        """An admin's withdrawal or end, or one of the two voices of the vendor that it takes; the same again changes nothing. Raises
        NOT_FOUND, WRONG_STATE, SECOND_PERSON_REQUIRED, CLOSED."""
        with self._database.transaction() as tx:
            named = store.find(tx, request_id)
            if named is None or (caller.is_customer and named.organization_id != caller.organization_id):
                raise not_found("zero_data_retention_request")
            organization = active(organizations.lock(tx, named.organization_id))
            request = store.find(tx, request_id)  # again: as it is under the lock
            if request is None:
                raise not_found("zero_data_retention_request")
            if caller.is_customer:
                return self._end_by_admin(tx, caller, request, organization, reason)
            return self._end_by_vendor(tx, caller, request, reason)

    def _end_by_admin(
        self, tx: Tx, caller: Caller, request: ZdrRequest, organization: Organization, reason: str
    ) -> ZdrRequest:
        if request.state in (_ENDED, _WITHDRAWN):
            return request
        if request.state == _APPROVED:
            return self._put_out_of_force(tx, caller.actor, replace(request, end_reason=reason), organization)
        if request.state != _REQUESTED:
            raise _wrong(request, "The request was denied; there is nothing to end.")
        request = replace(request, state=_WITHDRAWN, end_reason=reason)
        store.change(tx, request)
        self._audit(tx, "zero_data_retention.withdrawn", caller.actor, request, {})
        self._tell(tx, "zero_data_retention.ended", caller.actor, request, "VENDOR")
        return request

    def _end_by_vendor(self, tx: Tx, caller: Caller, request: ZdrRequest, reason: str) -> ZdrRequest:
        if request.state == _ENDED or request.ends_at is not None:
            return request
        if request.state != _APPROVED:
            raise _wrong(request, "Only what is in force can be ended.")
        if caller.person_id in request.end_approved_by:
            raise KeptError(
                Reason.REASON_SECOND_PERSON_REQUIRED,
                "You have asked for the end already; the second voice is another person's.",
            )
        request = replace(
            request, end_approved_by=(*request.end_approved_by, caller.person_id), end_reason=reason
        )
        facts: dict[str, str | int | bool] = {
            "approvals": len(request.end_approved_by),
            "needed": _APPROVALS_NEEDED,
        }
        if len(request.end_approved_by) == _APPROVALS_NEEDED:
            request = replace(request, ends_at=self._clock.now() + self._notice)
            assert request.ends_at is not None
            facts["ends_at"] = request.ends_at.isoformat()
            self._tell(tx, "zero_data_retention.ending", caller.actor, request, "CUSTOMER")
        store.change(tx, request)
        self._audit(tx, "zero_data_retention.end_approved", caller.actor, request, facts)
        return request

    def end_due(self) -> bool:
        """The job: ends what the vendor gave notice of. True when there may be more at once."""
        with self._database.transaction() as tx:
            due = store.list_ending(tx, self._clock.now(), _BATCH)
        for named in due:
            with self._database.transaction() as tx:
                organization = organizations.lock(tx, named.organization_id)
                request = store.find(tx, named.request_id)
                if organization is None or request is None or request.state != _APPROVED:
                    continue  # ended by an admin meanwhile, or erased
                self._put_out_of_force(tx, _ACTOR, request, organization)
        return len(due) == _BATCH

    def _put_out_of_force(
        self, tx: Tx, actor: str, request: ZdrRequest, organization: Organization
    ) -> ZdrRequest:
        organizations.set_zero_data_retention(tx, organization.organization_id, False)
        current = controls.newest(tx, organization.organization_id)
        effective_at = self._policies.publish_organization(
            tx,
            replace(organization, zero_data_retention=False),
            current is not None and current.require_customer_approval,
        )
        request = replace(request, state=_ENDED, end_effective_at=effective_at)
        store.change(tx, request)
        self._audit(
            tx, "zero_data_retention.ended", actor, request, {"effective_at": effective_at.isoformat()}
        )
        self._tell(tx, "zero_data_retention.ended", actor, request, "CUSTOMER")
        return request

    def list_of(self, organization_id: str) -> list[ZdrRequest]:
        """An organization's requests, newest first; with an empty id all that wait for a decision."""
        with self._database.transaction() as tx:
            if organization_id:
                return store.list_of(tx, organization_id, _MOST_LISTED)
            return store.list_open(tx, _MOST_LISTED)

    def _audit(
        self, tx: Tx, kind: str, actor: str, request: ZdrRequest, facts: dict[str, str | int | bool]
    ) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=self._clock.now(),
                organization_id=request.organization_id,
                subjects=[request.request_id],
                facts=facts,
            ),
        )

    def _tell(self, tx: Tx, event: str, actor: str, request: ZdrRequest, whom: str) -> None:
        self._notifications.emit(
            tx,
            event,
            Ids(
                organization_id=request.organization_id,
                subject_id=request.request_id,
                actor=actor,
                tell=whom,
                state=short_name(contract.ZeroDataRetentionState, request.state),
                due_at=request.ends_at if request.state == _APPROVED else None,
                effective_at=request.end_effective_at or request.effective_at,
            ),
        )


def _wrong(request: ZdrRequest, text: str) -> KeptError:
    return wrong_state(text, contract.ZeroDataRetentionState.Name(request.state))

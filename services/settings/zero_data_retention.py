"""Zero data retention: asked for by an admin, decided by two people, in force everywhere from a stated instant on."""

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from kept.settings.v1 import organizations_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.commitments import Commitments
from services.settings.lifecycle import active
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations
from services.settings.store import zero_data_retention as store
from services.settings.store.organizations import Organization
from services.settings.store.zero_data_retention import ZdrRequest
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.outbox import Outbox

_APPROVALS_NEEDED: Final = 2
_MOST_LISTED: Final = 1000
_REQUESTED = contract.ZERO_DATA_RETENTION_STATE_REQUESTED
_APPROVED = contract.ZERO_DATA_RETENTION_STATE_APPROVED
_DENIED = contract.ZERO_DATA_RETENTION_STATE_DENIED


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


class ZeroDataRetention:
    """The requests of all organizations."""

    def __init__(
        self, database: Database, clock: Clock, policies: Policies, outbox: Outbox, commitments: Commitments
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self.commitments = commitments

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
            )
            store.add(tx, request)
            facts: dict[str, str | int | bool] = {"commitments_version": version}
            if organization.sales_representative:
                # By function, not by name: entries outlive the account, names do not.
                facts["copied"] = "sales_representative"
            self._audit(tx, "zero_data_retention.requested", caller, request, facts)
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
                self._audit(tx, "zero_data_retention.denied", caller, request, {})
                self._audit(tx, "zero_data_retention.decided", caller, request, {"approved": False})
                return request
            require_eligible(organization)
            request = replace(request, approved_by=(*request.approved_by, caller.person_id))
            self._audit(
                tx,
                "zero_data_retention.approved",
                caller,
                request,
                {"approvals": len(request.approved_by), "needed": _APPROVALS_NEEDED},
            )
            if len(request.approved_by) == _APPROVALS_NEEDED:
                request = self._put_into_force(tx, caller, request, organization)
            return request

    def _put_into_force(
        self, tx: Tx, caller: Caller, request: ZdrRequest, organization: Organization
    ) -> ZdrRequest:
        organizations.set_zero_data_retention(tx, organization.organization_id)
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
            caller,
            request,
            {"approved": True, "effective_at": effective_at.isoformat()},
        )
        return request

    def list_of(self, organization_id: str) -> list[ZdrRequest]:
        """An organization's requests, newest first; with an empty id all that wait for a decision."""
        with self._database.transaction() as tx:
            if organization_id:
                return store.list_of(tx, organization_id, _MOST_LISTED)
            return store.list_open(tx, _MOST_LISTED)

    def _audit(
        self, tx: Tx, kind: str, caller: Caller, request: ZdrRequest, facts: dict[str, str | int | bool]
    ) -> None:
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=caller.actor,
                at=self._clock.now(),
                organization_id=request.organization_id,
                subjects=[request.request_id],
                facts=facts,
            ),
        )

"""Zero data retention: asked for by an admin, decided by two people, in force everywhere from a stated instant on, until it is ended
(ends).
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

from kept.retention.v1 import erasures_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.accounts.admins import lock_for_act
from services.settings.organizations.lifecycle import active
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations
from services.settings.store import zero_data_retention as store
from services.settings.store.organizations import Organization
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.zero_data_retention.announcing import Announcer
from services.settings.zero_data_retention.commitments import Commitments
from services.settings.zero_data_retention.eligibility import require_eligible
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.ids import new_id
from shared.outbox import Outbox
from shared.voices import Voice, Voices, counting, people

_APPROVALS_NEEDED: Final = 2
_DECIDING: Final = "/kept.settings.v1.ZeroDataRetentionService/DecideZeroDataRetention"
_MOST_LISTED: Final = 1000
_REQUESTED = contract.ZERO_DATA_RETENTION_STATE_REQUESTED
_APPROVED = contract.ZERO_DATA_RETENTION_STATE_APPROVED
_DENIED = contract.ZERO_DATA_RETENTION_STATE_DENIED
_ENDED = contract.ZERO_DATA_RETENTION_STATE_ENDED
_SECONDS: Final = "%Y-%m-%d %H:%M:%S"
# A message of the outbox: an erasure of content for retention.
CONTENT_ERASURE: Final = "content_erasure"


def content_order(request: ZdrRequest, before: datetime) -> erasures_pb2.EraseContentRequest:
    """What retention is asked for where a request wants what was logged before gone too. before: from when on it counts."""
    order = erasures_pb2.EraseContentRequest(
        request_id=request.request_id,
        organization_id=request.organization_id,
        requested_by=request.requested_by,
    )
    order.before.FromDatetime(before)
    return order


def require_undecided(request: ZdrRequest, person_id: str, approve: bool, now: datetime) -> None:
    """Raises WRONG_STATE for a request that is decided, SECOND_PERSON_REQUIRED for a second approval by the same person while the first
    counts. Who has approved may still deny: a denial only ends the request."""
    if request.state != _REQUESTED:
        raise wrong_state(
            "The request is decided already.", contract.ZeroDataRetentionState.Name(request.state)
        )
    if approve and person_id in people(counting(request.approvals, now)):
        raise KeptError(
            Reason.REASON_SECOND_PERSON_REQUIRED,
            "You have approved already; the second approval is another person's.",
        )


def content_note(tx: Tx, organization_id: str) -> str:
    """What an organization is told where a feature needs logged content: when zero data retention was or is in force, and from before when
    content was erased; "" where it never was."""
    in_force = [
        request
        for request in reversed(store.list_of(tx, organization_id, _MOST_LISTED))
        if request.state in (_APPROVED, _ENDED) and request.effective_at is not None
    ]
    if not in_force:
        return ""
    periods = [
        f"from {request.effective_at:{_SECONDS}} UTC"
        + (f" until {request.end_effective_at:{_SECONDS}} UTC" if request.end_effective_at else " on")
        for request in in_force
    ]
    note = (
        f"Zero data retention is in force {', and '.join(periods)}: "
        "of what was created then there is log data and no content."
    )
    erased_before = [request.effective_at for request in in_force if request.erase_logged_before]
    if erased_before:
        note += (
            f" What was logged before {erased_before[-1]:{_SECONDS}} UTC is erased too, but what holds keep."
        )
    return note


class ZeroDataRetention:
    """The requests of all organizations, and the decisions on them."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policies: Policies,
        outbox: Outbox,
        commitments: Commitments,
        announcer: Announcer,
        voices: Voices,
    ) -> None:
        self._voices = voices
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self._announcer = announcer
        self.commitments = commitments

    def request(
        self,
        caller: Caller,
        organization_id: str,
        version: str,
        accepted: Collection[str],
        *,
        erase_logged_before: bool = False,
    ) -> ZdrRequest:
        """Asks for it. erase_logged_before: what was logged before goes as soon as it counts. Raises NOT_ELIGIBLE,
        COMMITMENTS_NOT_ACCEPTED, ALREADY_EXISTS while another request waits, WRONG_STATE where it is approved already,
        ADMIN_REQUIRED, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = lock_for_act(tx, caller, organization_id)
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
                erase_logged_before=erase_logged_before,
            )
            store.add(tx, request)
            facts: dict[str, str | int | bool] = {
                "commitments_version": version,
                "erase_logged_before": erase_logged_before,
            }
            if organization.sales_representative:
                # By function, not by name: entries outlive the account, names do not.
                facts["copied"] = "sales_representative"
            self._announcer.audit(tx, "zero_data_retention.requested", caller.actor, request, facts)
            self._announcer.tell(
                tx,
                "zero_data_retention.requested",
                caller.actor,
                request,
                "SALES_REPRESENTATIVE" if request.copied_to else "VENDOR",
            )
            return request

    def decide(self, caller: Caller, request_id: str, approve: bool, reason: str) -> ZdrRequest:
        """Takes one person's decision. An approval by somebody who could not approve any more, or of 72 hours ago, counts no longer, and
        another person's is waited for. Raises NOT_FOUND, WRONG_STATE, SECOND_PERSON_REQUIRED, NOT_ELIGIBLE, CLOSED."""
        with self._database.transaction() as tx:
            named = store.find(tx, request_id)
        if named is None:
            raise not_found("zero_data_retention_request")
        named_people = people(named.approvals)
        lapsed = set(named_people) - self._voices(named_people, _DECIDING) if approve else set()
        with self._database.transaction() as tx:
            organization = active(organizations.lock(tx, named.organization_id))
            request = store.find(tx, request_id)  # again: it may have been decided before the lock was ours
            if request is None:
                raise not_found("zero_data_retention_request")
            now = self._clock.now()
            require_undecided(request, caller.person_id, approve, now)
            store.add_decision(tx, request, caller.person_id, approve, reason, now)
            if not approve:
                store.end(tx, request_id, _DENIED, None)
                request = replace(request, state=_DENIED)
                self._announcer.audit(tx, "zero_data_retention.denied", caller.actor, request, {})
                self._announcer.audit(
                    tx, "zero_data_retention.decided", caller.actor, request, {"approved": False}
                )
                self._announcer.tell(tx, "zero_data_retention.decided", caller.actor, request, "CUSTOMER")
                return request
            require_eligible(organization)
            request = replace(request, approvals=(*request.approvals, Voice(caller.person_id, now)))
            approvals = len(set(people(counting(request.approvals, now))) - lapsed)
            self._announcer.audit(
                tx,
                "zero_data_retention.approved",
                caller.actor,
                request,
                {"approvals": approvals, "needed": _APPROVALS_NEEDED},
                now,
            )
            if approvals >= _APPROVALS_NEEDED:
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
        if request.erase_logged_before:
            self._erase_before(tx, organization, request, effective_at)
        self._announcer.audit(
            tx,
            "zero_data_retention.decided",
            caller.actor,
            request,
            {"approved": True, "effective_at": effective_at.isoformat()},
        )
        self._announcer.tell(tx, "zero_data_retention.decided", caller.actor, request, "CUSTOMER")
        return request

    def _erase_before(
        self, tx: Tx, organization: Organization, request: ZdrRequest, effective_at: datetime
    ) -> None:
        """Publishes from before when content goes, so that whoever destroys it need not take retention's word for it, and orders it."""
        organizations.set_content_erased_before(tx, organization.organization_id, effective_at)
        current = controls.newest(tx, organization.organization_id)
        # A change of its own: the instant from which the first counts is known by now, and this one counts no earlier.
        self._policies.publish_organization(
            tx,
            replace(organization, zero_data_retention=True, content_erased_before=effective_at),
            current is not None and current.require_customer_approval,
        )
        self._outbox.put(tx, CONTENT_ERASURE, content_order(request, effective_at))

    def taken_over(self, request_id: str, erasure_id: str) -> None:
        """Retention has begun to erase what was logged before; nothing where the organization is erased meanwhile."""
        with self._database.transaction() as tx:
            store.set_erasure(tx, request_id, erasure_id)

    def list_of(self, organization_id: str) -> list[ZdrRequest]:
        """An organization's requests, newest first; with an empty id all that wait for a decision."""
        with self._database.transaction() as tx:
            if organization_id:
                return store.list_of(tx, organization_id, _MOST_LISTED)
            return store.list_open(tx, _MOST_LISTED)

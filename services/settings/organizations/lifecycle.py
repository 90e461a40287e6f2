"""Where an organization is in its life, and its end: closed first, erased once nothing new comes in any more.

Both steps are retention's to ask for and can be repeated: the instant of the closing and the receipt of the erasure are stored with the
organization and answered again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from kept.settings.v1 import organizations_pb2
from services.settings.accounts.sign_in_pace import account_key
from services.settings.policies import Policies
from services.settings.store import (
    Tx,
    account_deletions,
    api_keys,
    assisted_opt_outs,
    controls,
    members,
    notification_addresses,
    organization_changes,
    organizations,
    sign_ins,
    subject_requests,
    subprocessors,
    terms_acceptances,
    trust_requests,
    usage_agreements,
    zero_data_retention,
)
from services.settings.store.organizations import Organization
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, wrong_state
from shared.identity import Caller
from shared.outbox import Outbox

_EVERYBODY: Final = 1_000_000


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed: rows by kind, and when."""

    erased_at: datetime
    removed: Mapping[str, int]


def active(organization: Organization | None) -> Organization:
    """The organization, if there is one and it is in use. Raises NOT_FOUND or CLOSED."""
    if organization is None:
        raise not_found("organization")
    if organization.state != organizations_pb2.ORGANIZATION_STATE_ACTIVE:
        raise KeptError(
            Reason.REASON_CLOSED, "The organization is closed; nothing of it can be changed any more."
        )
    return organization


class Lifecycle:
    """Closes and erases organizations."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox

    def close(self, caller: Caller, organization_id: str, erasure_id: str) -> datetime:
        """Closes an organization; returns the instant from which no process takes anything for it. A repetition returns the
        instant of the first closing. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = organizations.lock(tx, organization_id)
            if organization is None:
                raise not_found("organization")
            if organization.closed_from is not None:
                return organization.closed_from
            current = controls.newest(tx, organization_id)
            closed_from = self._policies.publish_organization(
                tx,
                replace(organization, state=organizations_pb2.ORGANIZATION_STATE_CLOSED),
                current is not None and current.require_customer_approval,
            )
            organizations.close(tx, organization_id, erasure_id, closed_from)
            self._outbox.audit(
                tx,
                audit.entry(
                    "organization.closed",
                    actor=caller.actor,
                    at=self._clock.now(),
                    organization_id=organization_id,
                    subjects=[organization_id, erasure_id],
                    facts={"effective_at": closed_from.isoformat()},
                ),
            )
            return closed_from

    def erase(self, caller: Caller, organization_id: str, erasure_id: str) -> Receipt:
        """As `erase_in`, in a transaction of its own."""
        with self._database.transaction() as tx:
            return self.erase_in(tx, caller.actor, organization_id, erasure_id)

    def erase_in(self, tx: Tx, actor: str, organization_id: str, erasure_id: str) -> Receipt:
        """Removes what is known about a closed organization and its people. A repetition returns the first receipt. Raises NOT_FOUND;
        WRONG_STATE for one that is not closed."""
        organization = organizations.lock(tx, organization_id)
        if organization is None:
            raise not_found("organization")
        if organization.erased_at is not None:
            return Receipt(organization.erased_at, organization.removed or {})
        if organization.state != organizations_pb2.ORGANIZATION_STATE_CLOSED:
            raise wrong_state(
                "The organization has to be closed before it is erased.",
                organizations_pb2.OrganizationState.Name(organization.state),
            )
        for person in members.list_after(tx, organization_id, None, _EVERYBODY):
            sign_ins.forget_sources(tx, account_key(person.email))
        people, invitations = members.erase(tx, organization_id)
        removed = {
            "members": people,
            "invitations": invitations,
            "sign_ins": sign_ins.erase(tx, organization_id),
            "data_controls_changes": controls.erase(tx, organization_id),
            "zero_data_retention_requests": zero_data_retention.erase(tx, organization_id),
            "account_deletions": account_deletions.erase(tx, organization_id),
            "usage_agreements": usage_agreements.erase(tx, organization_id),
            "assisted_opt_outs": assisted_opt_outs.erase(tx, organization_id),
            "notification_addresses": notification_addresses.erase(tx, organization_id),
            "subject_requests": subject_requests.erase(tx, organization_id),
            "organization_changes": organization_changes.erase(tx, organization_id),
            "terms_acceptances": terms_acceptances.erase(tx, organization_id),
            "trust_requests": trust_requests.erase(tx, organization_id),
            "subprocessor_objections": subprocessors.erase(tx, organization_id),
            "api_keys": api_keys.erase(tx, organization_id),
        }
        erased_at = self._clock.now()
        organizations.erase(tx, organization_id, erased_at, removed)
        self._outbox.audit(
            tx,
            audit.entry(
                "organization.erased",
                actor=actor,
                at=erased_at,
                organization_id=organization_id,
                subjects=[organization_id, erasure_id],
                facts=removed,
            ),
        )
        return Receipt(erased_at, removed)

"""What is agreed with an organization: its tier, its deployment, its agreement. Changes are history; nothing is overwritten but contacts.

All of it is decided under the lock of the organization's row. What other processes act on (tier, deployment, usage counts, training term)
rides the policy feed and counts from a stated instant; the rest counts from when it is entered. Contacts are people's addresses: they are
replaced, not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from typing import Final

from kept.settings.v1 import organizations_pb2
from services.settings.organizations.lifecycle import active
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations, usage_agreements
from services.settings.store import organization_changes as store
from services.settings.store.organization_changes import OrganizationChange
from services.settings.store.organizations import Organization
from services.settings.store.usage_agreements import UsageAgreement
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found, outdated
from shared.identity import Caller
from shared.outbox import Outbox
from shared.pages import page

_LIST: Final = "organization_changes"
# What other processes have to know of, and what is kept as history.
_PUBLISHED: Final = frozenset({"tier", "deployment", "usage_agreed", "training_retention_days"})
_CONTACTS: Final = frozenset({"privacy_contact", "support_contact"})


@dataclass(frozen=True)
class Wanted:
    """What is to be so from now on; None: as it is. The names are those of Organization."""

    tier: "organizations_pb2.Tier.ValueType | None" = None
    deployment: "organizations_pb2.Deployment.ValueType | None" = None
    usage_agreed: bool | None = None
    training_retention_days: int | None = None
    contract_references: tuple[str, ...] | None = None
    privacy_contact: str | None = None
    support_contact: str | None = None

    def applied(self, organization: Organization) -> tuple[Organization, frozenset[str]]:
        """The organization as it would be, and the names of what would be different."""
        said = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        now = replace(organization, contract_references=tuple(organization.contract_references))
        changed = replace(now, **said)
        return changed, frozenset(name for name in said if getattr(changed, name) != getattr(now, name))


def etag(organization: Organization) -> str:
    """What an update has to show to prove that it is based on this state."""
    return f"organization-{organization.revision}"


def require_changeable(deployment: "organizations_pb2.Deployment.ValueType", usage_was_agreed: bool) -> None:
    """Raises DEPLOYMENT_FIXED unless nothing can have been stored under this deployment. What runs on the vendor's platform may have stored
    records from the first instant on; what runs elsewhere has stored nothing, unless it once was agreed that it sends usage counts."""
    if deployment == organizations_pb2.DEPLOYMENT_SAAS or usage_was_agreed:
        raise KeptError(
            Reason.REASON_DEPLOYMENT_FIXED,
            "Something may have been stored under this deployment; it cannot be changed without erasing the organization.",
            metadata={"deployment": organizations_pb2.Deployment.Name(deployment)},
        )


def begin(tx: Tx, organization: Organization, entered_by: str, effective_at: datetime) -> None:
    """The first entry of an organization's history."""
    store.add(tx, entry_of(organization, organization.created_at, effective_at, entered_by))


class OrganizationChanges:
    """What is agreed with all organizations."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox

    def update(
        self, caller: Caller, organization_id: str, shown_etag: str, wanted: Wanted
    ) -> tuple[Organization, datetime]:
        """Enters what is agreed; the organization, and since when that counts everywhere. Raises NOT_FOUND, CLOSED, CONFLICT,
        DEPLOYMENT_FIXED."""
        with self._database.transaction() as tx:
            organization = active(organizations.lock(tx, organization_id))
            if shown_etag != etag(organization):
                raise outdated(
                    "The organization was changed since it was read; read it again.", etag(organization)
                )
            changed, different = wanted.applied(organization)
            if not different:
                return organization, _since(tx, organization)
            if "deployment" in different:
                require_changeable(
                    organization.deployment,
                    organization.usage_agreed or usage_agreements.was_ever_agreed(tx, organization_id),
                )
            changed = replace(changed, revision=organization.revision + 1)
            self._write(tx, caller, organization, changed, different)
            return changed, _since(tx, changed)

    def _write(
        self,
        tx: Tx,
        caller: Caller,
        before: Organization,
        changed: Organization,
        different: frozenset[str],
    ) -> None:
        organization_id = changed.organization_id
        if store.newest(tx, organization_id) is None:  # it was entered by a version that kept no history
            begin(tx, before, "service:settings", before.known_from or before.created_at)
        organizations.set_agreed(tx, changed)
        now = self._clock.now()
        effective_at = now
        if different & _PUBLISHED:
            current = controls.newest(tx, organization_id)
            effective_at = self._policies.publish_organization(
                tx, changed, current is not None and current.require_customer_approval
            )
        if different - _CONTACTS:
            store.add(tx, entry_of(changed, now, effective_at, caller.actor))
        if "usage_agreed" in different:
            usage_agreements.add(
                tx,
                UsageAgreement(
                    organization_id, changed.revision, changed.usage_agreed, now, effective_at, caller.actor
                ),
            )
        self._outbox.audit(
            tx,
            audit.entry(
                "organization.updated",
                actor=caller.actor,
                at=now,
                organization_id=organization_id,
                subjects=[organization_id],
                facts=_facts(before, changed, different, effective_at),
            ),
        )

    def page(
        self, organization_id: str, page_size: int, page_token: str
    ) -> tuple[Sequence[OrganizationChange], str]:
        """A page of history, oldest first, and the token of the next; "" on the last. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            if organizations.find(tx, organization_id) is None:
                raise not_found("organization")
            # Numbers begin at 0, which no page token may end with: a page ends with the number after its last.
            read = partial(store.history, tx, organization_id)
            return page(_LIST, page_size, page_token, read, lambda entry: entry.number + 1)


def entry_of(
    organization: Organization, entered_at: datetime, effective_at: datetime, entered_by: str
) -> OrganizationChange:
    """The entry of the history that says what an organization is from an instant on, and who entered it when."""
    return OrganizationChange(
        organization_id=organization.organization_id,
        number=organization.revision,
        tier=organization.tier,
        deployment=organization.deployment,
        training_retention_days=organization.training_retention_days,
        contract_references=tuple(organization.contract_references),
        usage_agreed=organization.usage_agreed,
        entered_at=entered_at,
        effective_at=effective_at,
        entered_by=entered_by,
    )


def _since(tx: Tx, organization: Organization) -> datetime:
    """Since when what is agreed now counts everywhere."""
    entered = store.newest(tx, organization.organization_id)
    agreed = usage_agreements.newest(tx, organization.organization_id)
    known = [one.effective_at for one in (entered, agreed) if one is not None]
    return max(known, default=organization.known_from or organization.created_at)


def _facts(
    before: Organization, changed: Organization, different: frozenset[str], effective_at: datetime
) -> dict[str, str | int | bool]:
    facts: dict[str, str | int | bool] = {
        "changed": " ".join(sorted(different)),
        "effective_at": effective_at.isoformat(),
    }
    if "tier" in different:
        facts["tier"] = organizations_pb2.Tier.Name(changed.tier)
        facts["tier_before"] = organizations_pb2.Tier.Name(before.tier)
    if "deployment" in different:
        facts["deployment"] = organizations_pb2.Deployment.Name(changed.deployment)
        facts["deployment_before"] = organizations_pb2.Deployment.Name(before.deployment)
    if "training_retention_days" in different:
        facts["training_retention_days"] = changed.training_retention_days
    if "contract_references" in different:
        facts["contracts"] = len(changed.contract_references)
    if "usage_agreed" in different:
        facts["usage_agreed"] = changed.usage_agreed
    return facts

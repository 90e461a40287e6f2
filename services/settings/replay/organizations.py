"""Organizations, their controls, API keys, gateways and published documents, as the audit log tells of them."""

from dataclasses import replace
from datetime import UTC, datetime

from kept.access_control.v1 import audit_pb2
from kept.settings.v1 import organizations_pb2
from services.settings.controls import data_controls
from services.settings.organizations.changes import entry_of
from services.settings.organizations.lifecycle import Lifecycle
from services.settings.policies import Policies
from services.settings.store import (
    Tx,
    api_keys,
    controls,
    gateways,
    organization_changes,
    organizations,
    subprocessors,
    trust_documents,
    usage_agreements,
)
from services.settings.store.gateways import Gateway
from services.settings.store.organizations import NewOrganization
from services.settings.store.usage_agreements import UsageAgreement
from shared.outbox.replay import Apply


def at(entry: audit_pb2.AuditEntry) -> datetime:
    """When it happened, by the clock of who reported it."""
    return entry.occurred_at.ToDatetime(tzinfo=UTC)


def fact_time(entry: audit_pb2.AuditEntry, name: str = "effective_at") -> datetime:
    """An instant among its facts."""
    return datetime.fromisoformat(entry.facts[name])


def is_true(entry: audit_pb2.AuditEntry, name: str) -> bool:
    """A yes or no among its facts."""
    return entry.facts[name] == "true"


def approval_required(tx: Tx, organization_id: str) -> bool:
    """Whether the customer approves each access, as of now."""
    current = controls.newest(tx, organization_id)
    return current is not None and current.require_customer_approval


def applies(policies: Policies, lifecycle: Lifecycle) -> dict[str, Apply]:
    """By kind of entry."""
    made = _Organizations(policies, lifecycle)
    return {
        "organization.created": made.created,
        "organization.updated": made.updated,
        "organization.closed": made.closed,
        "organization.erased": made.erased,
        "data_controls.updated": made.controls_updated,
        "gateway.registered": made.gateway_registered,
        "gateway.revoked": made.gateway_revoked,
        "api_key.revoked": _api_key_revoked,
        "document.withdrawn": _document_withdrawn,
        "subprocessors.withdrawn": _subprocessors_withdrawn,
    }


class _Organizations:
    def __init__(self, policies: Policies, lifecycle: Lifecycle) -> None:
        self._policies = policies
        self._lifecycle = lifecycle

    def created(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """Without its name, its contacts and its first admin's invitation, which the log does not hold; an operator enters those again."""
        if organizations.find(tx, entry.organization_id) is not None:
            return
        since = fact_time(entry)
        made = organizations.add(
            tx,
            NewOrganization(
                organization_id=entry.organization_id,
                request_id=f"restored/{entry.organization_id}",
                content_sha256=b"",
                display_name=entry.organization_id,
                tier=organizations_pb2.Tier.Value(entry.facts["tier"]),
                deployment=organizations_pb2.Deployment.Value(entry.facts["deployment"]),
                sales_representative="",
                usage_agreed=is_true(entry, "usage_agreed"),
                created_at=at(entry),
            ),
        )
        if made is None:
            return
        self._policies.publish_organization(tx, made, False, since)
        organizations.set_known_from(tx, made.organization_id, since)
        organization_changes.add(tx, entry_of(made, at(entry), since, entry.actor))
        usage_agreements.add(
            tx, UsageAgreement(made.organization_id, 0, made.usage_agreed, at(entry), since, entry.actor)
        )
        controls.add(
            tx,
            controls.ControlsChange(
                organization_id=made.organization_id,
                number=1,
                training_allowed=is_true(entry, "training_allowed"),
                require_customer_approval=False,
                accepted_at=at(entry),
                effective_at=since,
                changed_by=entry.actor,
            ),
        )

    def updated(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        """All but references to contracts, and contacts."""
        before = organizations.lock(tx, entry.organization_id)
        newest = organization_changes.newest(tx, entry.organization_id)
        said = set(entry.facts["changed"].split()) & {
            "tier",
            "deployment",
            "usage_agreed",
            "training_retention_days",
        }
        # By when they count, for that is in their order, whatever the clocks of those who entered them say.
        if before is None or not said or (newest is not None and newest.effective_at > fact_time(entry)):
            return
        changed = before
        if "tier" in said:
            changed = replace(changed, tier=organizations_pb2.Tier.Value(entry.facts["tier"]))
        if "deployment" in said:
            deployment = organizations_pb2.Deployment.Value(entry.facts["deployment"])
            changed = replace(changed, deployment=deployment)
        if "training_retention_days" in said:
            changed = replace(changed, training_retention_days=int(entry.facts["training_retention_days"]))
        if "usage_agreed" in said:
            changed = replace(changed, usage_agreed=is_true(entry, "usage_agreed"))
        if changed == before:  # it is known
            return
        changed = replace(changed, revision=before.revision + 1)
        organizations.set_agreed(tx, changed)
        since = self._policies.publish_organization(
            tx, changed, approval_required(tx, changed.organization_id), fact_time(entry)
        )
        organization_changes.add(tx, entry_of(changed, at(entry), since, entry.actor))
        if "usage_agreed" in said:
            usage_agreements.add(
                tx,
                UsageAgreement(
                    changed.organization_id,
                    changed.revision,
                    changed.usage_agreed,
                    at(entry),
                    since,
                    entry.actor,
                ),
            )

    def closed(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        organization = organizations.lock(tx, entry.organization_id)
        if organization is None or organization.closed_from is not None:
            return
        since = self._policies.publish_organization(
            tx,
            replace(organization, state=organizations_pb2.ORGANIZATION_STATE_CLOSED),
            approval_required(tx, entry.organization_id),
            fact_time(entry),
        )
        organizations.close(tx, entry.organization_id, _erasure_of(entry), since)

    def erased(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        organization = organizations.lock(tx, entry.organization_id)
        if organization is not None and organization.state == organizations_pb2.ORGANIZATION_STATE_CLOSED:
            self._lifecycle.erase_in(tx, entry.actor, entry.organization_id, _erasure_of(entry))

    def controls_updated(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        organization = organizations.lock(tx, entry.organization_id)
        current = controls.newest(tx, entry.organization_id)
        number = data_controls.number_of(entry.facts["etag"])
        if organization is None or current is None or number <= current.number:
            return
        wanted = controls.ControlsChange(
            organization_id=entry.organization_id,
            number=number,
            training_allowed=is_true(entry, "training_allowed"),
            require_customer_approval=is_true(entry, "require_customer_approval"),
            accepted_at=fact_time(entry, "accepted_at"),
            effective_at=fact_time(entry),
            changed_by=entry.actor,
            assisted_opt_out_id=next((one for one in entry.subjects if one.startswith("optout_")), ""),
        )
        controls.add(tx, wanted)
        if wanted.require_customer_approval != current.require_customer_approval:
            self._policies.publish_organization(
                tx, organization, wanted.require_customer_approval, wanted.effective_at
            )

    def gateway_registered(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        name, organization_ids = entry.subjects[0].removeprefix("gateway/"), tuple(entry.subjects[1:])
        gateways.lock(tx, name)
        known = gateways.find(tx, name)
        # Two in a row count from the same instant where the clock was set back, or another replica's is ahead.
        if known is not None and known.effective_at > fact_time(entry):
            return
        everywhere = is_true(entry, "all_organizations")
        since = self._policies.publish_gateway(
            tx,
            name,
            all_organizations=everywhere,
            organization_ids=organization_ids,
            since=fact_time(entry),
        )
        gateways.put(tx, Gateway(name, everywhere, organization_ids, since))

    def gateway_revoked(self, tx: Tx, entry: audit_pb2.AuditEntry) -> None:
        name = entry.subjects[0].removeprefix("gateway/")
        gateways.lock(tx, name)
        known = gateways.find(tx, name)
        if known is None or known.effective_at > fact_time(entry):
            return
        gateways.remove(tx, name)
        self._policies.publish_gateway(
            tx, name, all_organizations=False, organization_ids=(), since=fact_time(entry)
        )


def _erasure_of(entry: audit_pb2.AuditEntry) -> str:
    return next(one for one in entry.subjects if one.startswith("erasure_"))


def _api_key_revoked(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    key = api_keys.find(tx, entry.subjects[0])
    if key is not None and key.revoked_at is None:
        api_keys.revoke(tx, key.api_key_id, entry.actor, at(entry))


def _document_withdrawn(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    document = trust_documents.find(tx, entry.subjects[0], lock=True)
    if document is not None and document.withdrawn_at is None:
        trust_documents.withdraw(tx, document.document_id, at(entry))


def _subprocessors_withdrawn(tx: Tx, entry: audit_pb2.AuditEntry) -> None:
    subprocessors.withdraw(tx, int(entry.facts["version"]), at(entry))

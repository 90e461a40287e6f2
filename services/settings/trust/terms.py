"""What applies to an organization now (C36): a sentence for each commitment, by what settings knows of it; and what it took on itself.

Nothing here decides anything: the sentences say what the policies do. What settings does not know, such as terms that a contract sets, it
does not guess: the sentence says who does.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kept.settings.v1 import organizations_pb2, terms_pb2, zero_data_retention_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.config import LegalDocuments
from services.settings.store import Tx, controls, members, organizations, trust_requests, zero_data_retention
from services.settings.store import terms_acceptances as store
from services.settings.store.controls import ControlsChange
from services.settings.store.organizations import Organization
from services.settings.store.terms_acceptances import Acceptance
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.trust.terms_text import Facts, TermsText
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found
from shared.identity import Caller
from shared.outbox import Outbox

_DEPLOYMENTS: Final = {
    organizations_pb2.DEPLOYMENT_SAAS: "saas",
    organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD: "third-party-cloud",
    organizations_pb2.DEPLOYMENT_PRIVATE: "private",
}
_MOST_LISTED: Final = 1000
_MOST_ADMINS: Final = 50


@dataclass(frozen=True)
class Contacts:
    """Whom anybody can ask at the vendor."""

    support: str
    privacy: str


@dataclass(frozen=True)
class Term:
    """One sentence."""

    commitment_id: str
    group: str
    text: str
    basis: "terms_pb2.TermsBasis.ValueType"


@dataclass(frozen=True)
class DutyState:
    """A duty in the version in force, and its last acceptance in whatever version."""

    name: str
    text: str
    accepted: Acceptance | None


@dataclass(frozen=True)
class Applied:
    """A document that applies."""

    name: str
    version: str
    since: datetime | None
    link: str


@dataclass(frozen=True)
class EffectiveTerms:
    """What applies to an organization at an instant."""

    as_of: datetime
    organization: Organization
    version: str
    sentences: Sequence[Term]
    duties: Sequence[DutyState]
    documents: Sequence[Applied]
    contacts: Sequence[tuple["terms_pb2.ContactKind.ValueType", str]]


def facts_of(
    organization: Organization, current: ControlsChange | None, approved: ZdrRequest | None
) -> Facts:
    """What sentences may depend on; the names are those of services.settings.trust.terms_text.FACTS. approved: the request by which zero
    data retention is in force."""
    return {
        "tier": "paying" if organization.tier == organizations_pb2.TIER_PAYING else "trial",
        "deployment": _DEPLOYMENTS[organization.deployment],
        "zero_data_retention": organization.zero_data_retention,
        # Of this request alone: an organization keeps the instant of an erasure that an earlier one asked for.
        "erased_before": approved is not None and approved.erase_logged_before,
        "training_allowed": current is not None and current.training_allowed,
        "usage_agreed": organization.usage_agreed,
        "training_term": organization.training_retention_days > 0,
        "contracts": bool(organization.contract_references),
        "customer_approval": current is not None and current.require_customer_approval,
    }


def basis_of(is_paying: bool, beyond: bool) -> "terms_pb2.TermsBasis.ValueType":
    """Why a sentence is true."""
    if beyond:
        return terms_pb2.TERMS_BASIS_PLATFORM
    return terms_pb2.TERMS_BASIS_ENTERPRISE_COMMITMENTS if is_paying else terms_pb2.TERMS_BASIS_GENERAL_TERMS


class Terms:
    """The terms of all organizations. legal: the vendor's published documents."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        outbox: Outbox,
        text: TermsText,
        legal: LegalDocuments,
        contacts: Contacts,
    ) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self.text = text
        self._legal = legal
        self.contacts = contacts

    def effective(self, organization_id: str) -> EffectiveTerms:
        """What applies to an organization now. Raises NOT_FOUND, also once it is erased."""
        with self._database.transaction() as tx:
            organization = organizations.find(tx, organization_id)
            if organization is None or organization.state == organizations_pb2.ORGANIZATION_STATE_ERASED:
                raise not_found("organization")
            approved = _approved(tx, organization)
            return EffectiveTerms(
                as_of=self._clock.now(),
                organization=organization,
                version=self.text.version,
                sentences=self._sentences(organization, controls.newest(tx, organization_id), approved),
                duties=self._duties(tx, organization_id),
                documents=self._documents(tx, organization, approved),
                contacts=self._contacts(tx, organization),
            )

    def accept(
        self, caller: Caller, organization_id: str, version: str, names: Collection[str]
    ) -> Sequence[DutyState]:
        """Takes the acceptance of all duties; one that is there already stays. Raises TERMS_NOT_ACCEPTED, ADMIN_REQUIRED, CLOSED,
        NOT_FOUND."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, organization_id)
            self.text.require_accepted(version, names)
            there = {one.duty for one in store.list_of(tx, organization_id) if one.version == version}
            new = [duty.name for duty in self.text.duties if duty.name not in there]
            if new:
                now = self._clock.now()
                store.add(tx, [Acceptance(organization_id, version, name, caller.actor, now) for name in new])
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "terms.accepted",
                        actor=caller.actor,
                        at=now,
                        organization_id=organization_id,
                        subjects=[organization_id],
                        facts={"version": version, "duties": " ".join(new)},
                    ),
                )
            return self._duties(tx, organization_id)

    def _sentences(
        self, organization: Organization, current: ControlsChange | None, approved: ZdrRequest | None
    ) -> list[Term]:
        facts = facts_of(organization, current, approved)
        since = None if approved is None else approved.effective_at
        names = {
            "support": self.contacts.support,
            "privacy": self.contacts.privacy,
            "trust_center": self._legal.trust_center,
            "terms_of_use": self._legal.terms_of_use.link,
            "privacy_policy": self._legal.privacy_policy.link,
            "usage_policy": self._legal.usage_policy.link,
            "training_days": str(organization.training_retention_days),
            "contracts": ", ".join(organization.contract_references),
            "zero_data_retention_since": since.strftime("%Y-%m-%d %H:%M:%S UTC") if since else "its approval",
        }
        is_paying = organization.tier == organizations_pb2.TIER_PAYING
        return [
            Term(
                one.commitment_id,
                one.group,
                one.sentence(facts).format_map(names),
                basis_of(is_paying, one.beyond),
            )
            for one in self.text.commitments
        ]

    def _duties(self, tx: Tx, organization_id: str) -> list[DutyState]:
        last = {one.duty: one for one in store.list_of(tx, organization_id)}  # oldest first: the newest stays
        return [DutyState(duty.name, duty.text, last.get(duty.name)) for duty in self.text.duties]

    def _documents(self, tx: Tx, organization: Organization, approved: ZdrRequest | None) -> list[Applied]:
        legal = self._legal
        found = [
            Applied("terms-of-use", legal.terms_of_use.version, None, legal.terms_of_use.link),
            Applied("privacy-policy", legal.privacy_policy.version, None, legal.privacy_policy.link),
            Applied("usage-policy", legal.usage_policy.version, None, legal.usage_policy.link),
        ]
        if organization.tier == organizations_pb2.TIER_PAYING:
            found.insert(
                0, Applied("enterprise-commitments", self.text.version, None, legal.enterprise_commitments)
            )
        found += [Applied("contract", reference, None, "") for reference in organization.contract_references]
        if approved is not None:
            found.append(
                Applied(
                    "zero-data-retention-commitments",
                    approved.commitments_version,
                    approved.effective_at,
                    "",
                )
            )
        addendum = trust_requests.approved_addendum(tx, organization.organization_id)
        if addendum is not None:
            found.append(Applied("data-processing-addendum", addendum[0], addendum[1], ""))
        return found

    def _contacts(
        self, tx: Tx, organization: Organization
    ) -> list[tuple["terms_pb2.ContactKind.ValueType", str]]:
        admins = members.admin_names(tx, organization.organization_id, _MOST_ADMINS)
        found = [
            *((terms_pb2.CONTACT_KIND_ADMIN, name) for name in admins),
            (terms_pb2.CONTACT_KIND_SUPPORT, self.contacts.support),
            (terms_pb2.CONTACT_KIND_PRIVACY, self.contacts.privacy),
            (terms_pb2.CONTACT_KIND_SALES_REPRESENTATIVE, organization.sales_representative),
            (terms_pb2.CONTACT_KIND_CUSTOMER_PRIVACY, organization.privacy_contact),
            (terms_pb2.CONTACT_KIND_CUSTOMER_SUPPORT, organization.support_contact),
        ]
        return [(kind, address) for kind, address in found if address]


def _approved(tx: Tx, organization: Organization) -> ZdrRequest | None:
    """The request by which zero data retention is in force, or about to be."""
    if not organization.zero_data_retention:
        return None
    requests = zero_data_retention.list_of(tx, organization.organization_id, _MOST_LISTED)
    state = zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED
    return next((one for one in requests if one.state == state), None)

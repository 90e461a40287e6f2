"""Customers, as organizations: creating and looking up."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial

from kept.options.v1 import roles_pb2
from kept.settings.v1 import organizations_pb2
from services.settings.accounts.invitations import invite
from services.settings.accounts.tokens import Tokens
from services.settings.organizations import changes as organization_changes
from services.settings.organizations import usage_agreements
from services.settings.policies import Policies
from services.settings.store import Tx, controls
from services.settings.store import members as members_store
from services.settings.store import organizations as store
from services.settings.store.organizations import NewOrganization, Organization
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.identity import Caller
from shared.ids import new_id
from shared.names import require_shown
from shared.outbox import Outbox
from shared.pages import page
from shared.redaction import Secret

_LIST = "organizations"


@dataclass(frozen=True)
class Creation:
    """What an operator asks for."""

    display_name: str
    tier: "organizations_pb2.Tier.ValueType"
    deployment: "organizations_pb2.Deployment.ValueType"
    admin_email: str
    sales_representative: str
    training_allowed: bool
    usage_agreed: bool = False

    def sha256(self) -> bytes:
        """Equal for equal requests, also across versions: what the version before did not know is left out where it says nothing."""
        said = asdict(self)
        if not self.usage_agreed:
            del said["usage_agreed"]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


@dataclass(frozen=True)
class Created:
    """A new organization, from when it is known everywhere, and its first admin's invitation (none on a repetition)."""

    organization: Organization
    effective_at: datetime
    invitation_token: Secret


class Organizations:
    """The organizations."""

    def __init__(
        self, database: Database, clock: Clock, policies: Policies, outbox: Outbox, tokens: Tokens
    ) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox
        self._tokens = tokens

    def create(self, caller: Caller, request_id: str, wanted: Creation) -> Created:
        """Creates an organization, or finds the one that this request created. Raises REQUEST_ID_REUSED; ALREADY_EXISTS when
        the admin's address has an account; DECEPTIVE_ADDRESS; INVALID_ARGUMENT for a name that shows nothing."""
        require_shown(display_name=wanted.display_name)
        with self._database.transaction() as tx:
            new = NewOrganization(
                organization_id=new_id("org"),
                request_id=request_id,
                content_sha256=wanted.sha256(),
                display_name=wanted.display_name,
                tier=wanted.tier,
                deployment=wanted.deployment,
                sales_representative=wanted.sales_representative,
                usage_agreed=wanted.usage_agreed,
                created_at=self._clock.now(),
            )
            organization = store.add(tx, new)
            if organization is None:
                return self._repeated(tx, new)
            if members_store.find_by_email(tx, wanted.admin_email) is not None:
                raise KeptError(
                    Reason.REASON_ALREADY_EXISTS,
                    "The admin's e-mail address has an account already; an address has one account only.",
                    metadata={"kind": "member"},
                )
            invitation, token, _ = invite(
                tx,
                organization.organization_id,
                wanted.admin_email,
                roles_pb2.CUSTOMER_ROLE_ADMIN,
                tokens=self._tokens,
                field="admin_email",
                invited_by=caller.actor,
                now=new.created_at,
            )
            effective_at = self._policies.publish_organization(tx, organization, False)
            store.set_known_from(tx, organization.organization_id, effective_at)
            organization_changes.begin(tx, organization, caller.actor, effective_at)
            usage_agreements.begin(tx, organization, caller.actor, effective_at)
            controls.add(
                tx,
                controls.ControlsChange(
                    organization_id=organization.organization_id,
                    number=1,
                    training_allowed=wanted.training_allowed,
                    require_customer_approval=False,
                    accepted_at=new.created_at,
                    effective_at=effective_at,
                    changed_by=caller.actor,
                ),
            )
            self._outbox.audit(
                tx,
                audit.entry(
                    "organization.created",
                    actor=caller.actor,
                    at=new.created_at,
                    organization_id=organization.organization_id,
                    subjects=[organization.organization_id, invitation.invitation_id],
                    facts={
                        "tier": organizations_pb2.Tier.Name(wanted.tier),
                        "deployment": organizations_pb2.Deployment.Name(wanted.deployment),
                        "training_allowed": wanted.training_allowed,
                        "usage_agreed": wanted.usage_agreed,
                        "effective_at": effective_at.isoformat(),
                    },
                ),
            )
            return Created(organization, effective_at, token)

    def _repeated(self, tx: Tx, new: NewOrganization) -> Created:
        known = store.find_by_request(tx, new.request_id)
        if known is None or known.known_from is None or known.content_sha256 != new.content_sha256:
            raise KeptError(
                Reason.REASON_REQUEST_ID_REUSED,
                "This request id came before with another content; use a new one.",
            )
        return Created(known, known.known_from, Secret(""))

    def get(self, organization_id: str) -> Organization:
        """One organization. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            organization = store.find(tx, organization_id)
        if organization is None:
            raise not_found("organization")
        return organization

    def page(self, page_size: int, page_token: str) -> tuple[Sequence[Organization], str]:
        """A page in order of creation, and the token of the next; "" on the last."""
        with self._database.transaction() as tx:
            return page(_LIST, page_size, page_token, partial(store.list_after, tx), lambda one: one.number)

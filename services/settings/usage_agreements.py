"""Whether an organization's agreement says that usage counts may be sent by a deployment that records nothing here (C04).

It rides the policy feed to every logging process. Its history is only ever added to, under the lock of the organization's row.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from services.settings.lifecycle import active
from services.settings.policies import Policies
from services.settings.store import Tx, controls, organizations
from services.settings.store import usage_agreements as store
from services.settings.store.organizations import Organization
from services.settings.store.usage_agreements import UsageAgreement
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason, not_found
from shared.identity import Caller
from shared.outbox import Outbox
from shared.pages import page

_LIST = "usage_agreements"


def etag(organization: Organization) -> str:
    """What an update has to show to prove that it is based on this state."""
    return f"organization-{organization.revision}"


def begin(tx: Tx, organization: Organization, entered_by: str, effective_at: datetime) -> None:
    """The first entry of a new organization's history."""
    first = UsageAgreement(
        organization_id=organization.organization_id,
        number=organization.revision,
        usage_agreed=organization.usage_agreed,
        entered_at=organization.created_at,
        effective_at=effective_at,
        entered_by=entered_by,
    )
    store.add(tx, first)


class UsageAgreements:
    """What is agreed on usage counts."""

    def __init__(self, database: Database, clock: Clock, policies: Policies, outbox: Outbox) -> None:
        self._database = database
        self._clock = clock
        self._policies = policies
        self._outbox = outbox

    def update(
        self, caller: Caller, organization_id: str, shown_etag: str, agreed: bool | None
    ) -> tuple[Organization, datetime]:
        """Enters what is agreed, unless it is None; the organization, and since when that counts everywhere. Raises NOT_FOUND, CLOSED,
        CONFLICT."""
        with self._database.transaction() as tx:
            organization = active(organizations.lock(tx, organization_id))
            if shown_etag != etag(organization):
                raise KeptError(
                    Reason.REASON_CONFLICT,
                    "The organization was changed since it was read; read it again.",
                    metadata={"etag": etag(organization)},
                )
            if agreed is None or agreed == organization.usage_agreed:
                last = store.newest(tx, organization_id)
                since = organization.known_from if last is None else last.effective_at
                return organization, since or organization.created_at
            changed = replace(organization, usage_agreed=agreed, revision=organization.revision + 1)
            organizations.set_usage_agreed(tx, organization_id, agreed, changed.revision)
            current = controls.newest(tx, organization_id)
            now = self._clock.now()
            effective_at = self._policies.publish_organization(
                tx, changed, current is not None and current.require_customer_approval
            )
            store.add(
                tx,
                UsageAgreement(organization_id, changed.revision, agreed, now, effective_at, caller.actor),
            )
            self._outbox.audit(
                tx,
                audit.entry(
                    "organization.updated",
                    actor=caller.actor,
                    at=now,
                    organization_id=organization_id,
                    subjects=[organization_id],
                    facts={"usage_agreed": agreed, "effective_at": effective_at.isoformat()},
                ),
            )
            return changed, effective_at

    def page(
        self, organization_id: str, page_size: int, page_token: str
    ) -> tuple[Sequence[UsageAgreement], str]:
        """A page of history, oldest first, and the token of the next; "" on the last. Raises NOT_FOUND."""
        with self._database.transaction() as tx:
            if organizations.find(tx, organization_id) is None:
                raise not_found("organization")
            # Numbers begin at 0, which no page token may end with: a page ends with the number after its last.
            read = partial(store.history, tx, organization_id)
            return page(_LIST, page_size, page_token, read, lambda entry: entry.number + 1)

"""Whether an organization's agreement says that usage counts may be sent by a deployment that records nothing here (C04).

It rides the policy feed to every logging process. Its history is only ever added to, under the lock of the organization's row.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from services.settings.store import Tx, organizations
from services.settings.store import usage_agreements as store
from services.settings.store.organizations import Organization
from services.settings.store.usage_agreements import UsageAgreement
from shared.database import Database
from shared.errors import not_found
from shared.pages import page

_LIST = "usage_agreements"


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

    def __init__(self, database: Database) -> None:
        self._database = database

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

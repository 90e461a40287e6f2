"""Whom the vendor writes to about an organization's data, by topic: set by its admins, all at once, under an etag.

Addresses are contact data: they stand in one table without a history, and are gone when they are taken out. The audit log has their number.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from kept.settings.v1 import organizations_pb2
from services.settings.accounts.admins import lock_for_act
from services.settings.store import Tx, members, organizations
from services.settings.store import notification_addresses as store
from services.settings.store.notification_addresses import NotificationAddress
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import not_found, outdated
from shared.identity import Caller
from shared.outbox import Outbox

_MOST_NAMED = 50
_MOST_ADMINS = 1000


@dataclass(frozen=True)
class Addresses:
    """The list. otherwise, admin_emails: who is written to about a topic without an address, and where to."""

    addresses: Sequence[NotificationAddress]
    otherwise: Sequence[str]
    admin_emails: Sequence[str]

    @property
    def etag(self) -> str:
        """Names this list, whoever made it."""
        said = json.dumps([[address.topic, address.email] for address in self.addresses])
        return "addresses-" + hashlib.sha256(said.encode()).hexdigest()[:32]


class NotificationAddresses:
    """The addresses of all organizations. support: whom an organization without an admin is sent to."""

    def __init__(self, database: Database, clock: Clock, outbox: Outbox, *, support: str) -> None:
        self._database = database
        self._clock = clock
        self._outbox = outbox
        self._support = support

    def get(self, organization_id: str) -> Addresses:
        """The list. Raises NOT_FOUND, also once the organization is erased."""
        with self._database.transaction() as tx:
            organization = organizations.find(tx, organization_id)
            if organization is None or organization.state == organizations_pb2.ORGANIZATION_STATE_ERASED:
                raise not_found("organization")
            return self._read(tx, organization_id)

    def update(
        self,
        caller: Caller,
        organization_id: str,
        shown_etag: str,
        wanted: Sequence[NotificationAddress],
    ) -> Addresses:
        """Replaces the list. Raises CONFLICT, ADMIN_REQUIRED, CLOSED, NOT_FOUND."""
        with self._database.transaction() as tx:
            lock_for_act(tx, caller, organization_id)
            before = self._read(tx, organization_id)
            if shown_etag != before.etag:
                raise outdated(
                    "The addresses were changed since they were read; read them again.", before.etag
                )
            store.replace_all(tx, organization_id, wanted)
            now = self._read(tx, organization_id)
            if now.etag != before.etag:
                self._outbox.audit(
                    tx,
                    audit.entry(
                        "notification_addresses.updated",
                        actor=caller.actor,
                        at=self._clock.now(),
                        organization_id=organization_id,
                        subjects=[organization_id],
                        facts={
                            "addresses": len(now.addresses),
                            "addresses_before": len(before.addresses),
                        },
                    ),
                )
            return now

    def _read(self, tx: Tx, organization_id: str) -> Addresses:
        names = members.admin_names(tx, organization_id, _MOST_NAMED)
        emails = members.admin_emails(tx, organization_id, _MOST_ADMINS)
        return Addresses(store.list_of(tx, organization_id), names or [self._support], emails)

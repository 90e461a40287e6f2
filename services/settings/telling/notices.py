"""Notices: what customers' admins and the vendor's compliance have to be told, as signed webhooks to whoever an operator configured.

A message carries ids and never a name, an address or a reason; the receiver (a mailer, a ticket system) looks up
with its own rights whom to write to. (What people need to get into their accounts goes by `mail`.) docs/trust.md is for receivers.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from services.settings.store import Tx, outbox
from shared.clock import Clock
from shared.database import Database
from shared.jobs import Job
from shared.webhooks import Endpoint, Message, Webhook

# Every event there is, and when it happens. An audit entry of the same name is written in the same transaction.
EVENTS: Final[Mapping[str, str]] = {
    "document.requested": "somebody asked for a document or an addendum; compliance decides",
    "document.approved": "a request was approved; who asked is to be told",
    "document.denied": "a request was denied; who asked is to be told",
    "subprocessors.announced": "the admins of `organization_id` are to be told of a list that comes into force",
    "subprocessors.withdrawn": "a list was taken back before it came into force",
    "subprocessors.objected": "a customer objected to a list",
}


class Notices:
    """Tells. Without endpoints it tells nobody."""

    def __init__(self, clock: Clock, webhooks: Sequence[Webhook] = ()) -> None:
        self._clock = clock
        self._webhooks = tuple(webhooks)
        self.jobs: Sequence[Job] = [webhook.job for webhook in webhooks]

    @classmethod
    def configured(cls, endpoints: Sequence[Endpoint], database: Database, clock: Clock) -> "Notices":
        """Tells these endpoints, by way of the outbox. Raises ConfigError for secrets that cannot be used."""
        return cls(clock, [Webhook(endpoint, outbox, database, clock) for endpoint in endpoints])

    def emit(
        self,
        tx: Tx,
        event: str,
        *,
        organization_id: str = "",
        trust_request_id: str = "",
        version: int = 0,
        effective_at: str = "",
    ) -> None:
        """Has every endpoint told that asked for the event, if the caller's transaction commits. Raises KeyError for what is no event."""
        EVENTS[event]
        said: dict[str, str | int] = {
            "organization_id": organization_id,
            "trust_request_id": trust_request_id,
            "version": version,
            "effective_at": effective_at,
        }
        message = Message.of(event, self._clock.now(), {name: value for name, value in said.items() if value})
        for webhook in self._webhooks:
            if webhook.takes(event):
                webhook.put(tx, message)

    def are_well(self) -> bool:
        """Whether every endpoint takes what it is sent, as far as anybody knows."""
        return all(webhook.is_well() for webhook in self._webhooks)

"""Notifications: what happens to grants and standing, told to whoever an operator configured, as signed webhooks.

A message is written in the transaction of what it tells of. It carries ids and nothing else: no reason, no ticket, no name, no address, and
nothing of a record. Whoever is told looks the rest up with the rights they have. docs/notifications.md is for receivers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from kept.access_control.v1 import grants_pb2
from services.access_control.grants.grant import Grant
from services.access_control.people.person import power_name
from services.access_control.store import outbox
from shared.clock import Clock
from shared.database import Database
from shared.enums import short_name
from shared.jobs import Job
from shared.webhooks import Endpoint, Events, Told, Webhook

# Every event there is, and when it happens. An audit entry of the same name is written in the same transaction.
EVENTS: Final[Mapping[str, str]] = {
    "grant.requested": "somebody asked for a grant, of data or of a power",
    "grant.customer_approval_needed": "a request waits for an admin of the customer, which approves each access or exports its own",
    "grant.approved": "somebody approved; `state` says whether the grant is active now or waits for another",
    "grant.denied": "a request was denied",
    "grant.cancelled": "who asked took the request back",
    "grant.revoked": "a grant ended before its time, by a person or because something that it rested on ended",
    "grant.extension_requested": "who holds a grant asked for more time",
    "grant.extension_approved": "somebody approved more time, and another approval is missing",
    "grant.extended": "more time was approved; `expires_at` is the new end",
    "grant.extension_denied": "more time was denied; the grant goes on to its end",
    "grant.extension_cancelled": "who asked for more time took that back",
    "break_glass.used": "somebody took access without asking first; it has to be reviewed within a day",
    "break_glass.review_due": "a use of break-glass waits for its review, and its time is running out",
    "break_glass.reviewed": "a use of break-glass was reviewed",
    "review.due": "a role, an agreement or a provider waits to be confirmed again",
    "operator.recovered": "somebody with the database made operators again, because fewer than two were in force",
    "review.lapsed": "a role, an agreement or a provider counts no more, because nobody confirmed it in time",
}

_ID: Final = re.compile(r"(person|member|org|grant|role|agreement|provider)_[0-9a-z]{1,40}")
_SERVICE: Final = re.compile(r"service:[a-z_]{1,40}")
_WORD: Final = re.compile(r"[A-Z][A-Z_]{0,39}")


@dataclass(frozen=True)
class Ids(Told):
    """What a message may say; what is empty is left out.

    actor: whose act it was, "service:…" included. requested_by: who holds or asks for the grant. person_id: whom it is about otherwise.
    subject_id: what it is about beside a grant (a role, an agreement, a provider). purpose, detail, power, state: names of the contract's
    enums without their prefix. valid_from, expires_at: of the grant; due_at: when a review has to be done.
    """

    grant_id: str = ""
    organization_id: str = ""
    actor: str = ""
    requested_by: str = ""
    person_id: str = ""
    subject_id: str = ""
    purpose: str = ""
    detail: str = ""
    power: str = ""
    state: str = ""
    valid_from: datetime | None = None
    expires_at: datetime | None = None
    due_at: datetime | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for anything that is neither an id, nor an enum's name, nor an instant: a slip of ours must not become a
        message that says more than it should."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str) and value and not _admits(field.name, value):
                raise ValueError(f"{field.name} is not what a notification may carry")


def _admits(name: str, value: str) -> bool:
    if name in ("purpose", "detail", "power", "state"):
        return _WORD.fullmatch(value) is not None
    return _ID.fullmatch(value) is not None or (name == "actor" and _SERVICE.fullmatch(value) is not None)


def of_grant(grant: Grant, actor: str) -> Ids:
    """What a message about a grant says."""
    data, glass = grant.data, grant.broken_glass
    return Ids(
        grant_id=grant.grant_id,
        organization_id=grant.organization_id,
        actor=actor,
        requested_by=grant.requested_by,
        purpose=short_name(grants_pb2.Purpose, grant.purpose) if data is not None else "",
        detail=short_name(grants_pb2.Detail, data.detail) if data is not None else "",
        power=power_name(grant.power),
        state=short_name(grants_pb2.GrantState, grant.state),
        valid_from=grant.valid_from,
        expires_at=grant.expires_at,
        due_at=glass.review_due_at if glass is not None else None,
    )


class Notifications(Events):
    """Tells. Without endpoints it tells nobody."""

    def __init__(self, clock: Clock, webhooks: Sequence[Webhook] = ()) -> None:
        super().__init__(EVENTS, clock, webhooks)
        self.jobs: Sequence[Job] = [webhook.job for webhook in webhooks]

    @classmethod
    def configured(cls, endpoints: Sequence[Endpoint], database: Database, clock: Clock) -> "Notifications":
        """Tells these endpoints, by way of the outbox. Raises ConfigError for secrets that cannot be used."""
        return cls(clock, [Webhook(endpoint, outbox, database, clock) for endpoint in endpoints])

"""Notifications of retention: that a contract's term or a legal hold changed how long an organization's records live, told to whoever an
operator configured, as signed webhooks. docs/retention-notifications.md is for receivers.

A message is written in the transaction of what it tells of and carries ids, words of ours and instants: no reference, no reason, no scope.
Of a hold that the customer must not know of nothing is told; of holds on flagged use safety review tells, by its own rules.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.retention.store import Tx
from shared.clock import Clock
from shared.webhooks import Events, Told, Webhook

# Every event there is, and when it happens. An audit entry of the same name is written in the same transaction.
EVENTS: Final[Mapping[str, str]] = {
    "term.begun": "a contract's term counts from `effective_at` on, for what is stored already too",
    "term.ended": "a contract's term counts no more: it was ended, reached its last day, or another took its place",
    "hold.activated": "a legal hold keeps records beyond their day; it lapses unless a second person confirms it",
    "hold.released": "a legal hold is let go; what nothing else keeps and is due goes at once",
    "hold.lapsed": "nobody confirmed a legal hold in time; it is let go",
    "hold.disclosed": "there is, or was, a legal hold of which the law forbade telling; it may be told of now",
}

_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "organization_id": re.compile(r"org_[0-9a-z]{26}"),
    "subject_id": re.compile(r"(term|hold)_[0-9a-z]{26}"),
    "tell": re.compile(r"CUSTOMER"),
    "state": re.compile(r"[A-Z][A-Z_]{0,39}"),
}


@dataclass(frozen=True)
class Ids(Told):
    """What a message may say; what is empty is left out. organization_id: whose records it is about. subject_id: the term or hold. state:
    where that is now. effective_at: from when on a term counts. tell: who should hear of it."""

    organization_id: str
    subject_id: str
    state: str
    effective_at: datetime | None = None
    tell: str = "CUSTOMER"

    def __post_init__(self) -> None:
        """Raises ValueError for anything else: a slip of ours must not become a message that says more than it should."""
        for name, pattern in _PATTERNS.items():
            if pattern.fullmatch(getattr(self, name)) is None:
                raise ValueError(f"{name} is not what a notification may carry")


class Notifications(Events):
    """Tells. Without webhooks it tells nobody."""

    def __init__(self, clock: Clock, webhooks: Sequence[Webhook] = ()) -> None:
        super().__init__(EVENTS, clock, webhooks)

    def emit(self, tx: Tx, event: str, told: Told) -> None:
        """As `Events.emit`, with the kind of an audit entry; of what is no event nobody is told."""
        if event in EVENTS:
            super().emit(tx, event, told)

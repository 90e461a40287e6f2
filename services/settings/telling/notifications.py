"""Notifications of settings: what customers asked for and what is due, told to whoever an operator configured, as signed webhooks.

A message is written in the transaction of what it tells of and carries ids, names of the contract's enums and instants, never a name, an
address or a pseudonym. It says whom to tell; the receiver looks addresses up with the rights it has. docs/settings-notifications.md is for
receivers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from shared.clock import Clock
from shared.webhooks import Events, Told, Webhook

# Every event there is, and when it happens.
EVENTS: Final[Mapping[str, str]] = {
    "subject_request.due_soon": "a data subject's request has no answer yet, and its deadline comes near",
    "subject_request.overdue": "a data subject's request has no answer, and its deadline is past",
    "subject_request.failed": "a data subject's erasure could not be begun, or cannot go on; its customer passes it on again, by `due_at`",
    "zero_data_retention.requested": "an admin asked for zero data retention; the sales representative gets a copy, where there is one",
    "zero_data_retention.decided": "it was approved by two people, or denied by one: `state`; `effective_at` is since when it counts",
    "zero_data_retention.ending": "it has a last instant, `due_at`: two of the vendor's people gave notice, the organization is not "
    "eligible any more, or an admin ended it on the day it began",
    "zero_data_retention.stays": "the organization is eligible again before that day; it does not end",
    "zero_data_retention.ended": "it has ended, or its request was taken back; `effective_at` is since when content is logged again",
    "data_controls.updated": "training or the approval of accesses was changed; `subject_id`: the assisted opt-out that it came of",
    "assisted_opt_out.requested": "one of the vendor's people wants to turn training off, because no admin can be reached",
    "assisted_opt_out.decided": "another decided: `state`",
    "account_deletion.confirmed": "an admin confirmed that the organization be deleted; `due_at` is the last instant to take it back",
    "account_deletion.cancelled": "an admin took the deletion back",
    "account_deletion.handed_over": "its time came: retention erases the organization",
}

_ID: Final = re.compile(
    r"(person|member|org|subject|zdr|optout|deletion)_[0-9a-z]{1,40}|service:[a-z_]{1,40}"
)
_WORD: Final = re.compile(r"[A-Z][A-Z_]{0,39}")
_WORDS: Final = frozenset({"tell", "state"})


@dataclass(frozen=True)
class Ids(Told):
    """What a message may say; what is empty is left out.

    organization_id: whom it is about. subject_id: what it is about (a request, a deletion). actor: whose act. tell: who should hear of
    it, CUSTOMER, SALES_REPRESENTATIVE or VENDOR. state: where the thing is now. due_at, effective_at: when it has to be done; when it
    counts everywhere.
    """

    organization_id: str
    subject_id: str = ""
    actor: str = ""
    tell: str = ""
    state: str = ""
    due_at: datetime | None = None
    effective_at: datetime | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for anything that is neither an id, nor a word of ours, nor an instant: a slip of ours must not become a
        message that says more than it should."""
        for field in fields(self):
            value = getattr(self, field.name)
            pattern = _WORD if field.name in _WORDS else _ID
            if isinstance(value, str) and value and pattern.fullmatch(value) is None:
                raise ValueError(f"{field.name} is not what a notification may carry")


class Notifications(Events):
    """Tells. Without webhooks it tells nobody."""

    def __init__(self, clock: Clock, webhooks: Sequence[Webhook] = ()) -> None:
        super().__init__(EVENTS, clock, webhooks)

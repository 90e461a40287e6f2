"""The erasure of what was logged before zero data retention, as stored, its states, and what is said of it. Pure; content_erasures carries
it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from services.retention.certificates.certificate import Receipt
from services.retention.certificates.destructions import Destruction
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold

_LOG_DATA: Final = (
    "Log data of these records (when, which application and model, the end user's pseudonym, numbers of tokens) stays to its term: "
    "zero data retention keeps log data too."
)
_USAGE: Final = "Usage counts stay: they name nobody and hold no content."


class ContentState(StrEnum):
    """Where it is. DONE goes on to CERTIFYING_REST when the last hold has ended, and comes back."""

    DESTROYING_KEYS = "DESTROYING_KEYS"
    ERASING = "ERASING"
    CERTIFYING = "CERTIFYING"
    DONE = "DONE"
    CERTIFYING_REST = "CERTIFYING_REST"


@dataclass(frozen=True)
class ContentOrder:
    """An organization's wish, with its request for zero data retention. before: from when on that counts."""

    request_id: str
    organization_id: str
    before: datetime
    requested_by: str


@dataclass(frozen=True)
class ContentErasure:
    """One erasure. logged: logging's receipt, once it has erased. is_kept, is_complete: as an organization's erasure has them. held_by:
    records whose content a hold keeps, or kept, by hold."""

    erasure_id: str
    request_id: str
    organization_id: str
    requested_by: str
    before: datetime
    state: ContentState
    started_at: datetime
    fenced_at: datetime | None = None
    ended_at: datetime | None = None
    epochs_destroyed: int = 0
    destruction: Destruction = field(default_factory=lambda: Destruction(""))
    logged: Receipt | None = None
    is_kept: bool = False
    is_complete: bool = False
    held_by: tuple[tuple[str, int], ...] = ()

    @property
    def through_day(self) -> date:
        """The UTC day of the last record that is older than `before`: its key goes, and those of all days before."""
        return (self.before - timedelta(microseconds=1)).date()

    @property
    def removed(self) -> Mapping[str, int]:
        """What logging removed, by kind; empty before it has."""
        return {} if self.logged is None else self.logged.removed

    def is_of(self, order: ContentOrder) -> bool:
        """Whether this is what an order asks for."""
        return (self.organization_id, self.before, self.requested_by) == (
            order.organization_id,
            order.before,
            order.requested_by,
        )


def kept_sentences(erasure: ContentErasure, named: Sequence[Hold]) -> list[str]:
    """What holds keep of the content, and why. named: the holds of `held_by`."""
    records = dict(erasure.held_by)
    sentences = []
    for group in holds.by_reason(named):
        count = records.get(group[0].hold_id, 0)
        if len(group) > 1:  # they may keep the same ones
            subject = "The content of records is"
        else:
            subject = "The content of 1 record is" if count == 1 else f"The content of {count} records is"
        sentences.append(f"{subject} kept by {holds.kept_by(group)}.")
    return sentences


def stays_sentences() -> list[str]:
    """What such an erasure does not touch, and why."""
    return [_LOG_DATA, _USAGE]

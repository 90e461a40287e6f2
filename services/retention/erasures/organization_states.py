"""An erasure as stored, and its state machine. Pure; erasures carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from services.retention.certificates.certificate import Receipt
from services.retention.certificates.destructions import Destruction
from shared.errors import wrong_state


class ErasureState(StrEnum):
    """Where an erasure is. After DONE a further certificate may follow."""

    CLOSING = "CLOSING"
    DESTROYING_KEYS = "DESTROYING_KEYS"
    ERASING = "ERASING"
    CERTIFYING = "CERTIFYING"
    DONE = "DONE"


_ORDER = tuple(ErasureState)


@dataclass(frozen=True)
class Erasure:
    """One erasure. closes_at: from when on the organization is closed everywhere. fenced_at: since when logging writes nothing of it, where
    that was asked for before keys went. ended_at: of one that ended before the database was restored known while it goes on again. is_kept:
    something was still kept when it was certified first; is_complete: nothing will happen to it any more."""

    erasure_id: str
    organization_id: str
    account_deletion_id: str
    confirmed_by: str
    claim_sha256: bytes
    state: ErasureState
    started_at: datetime
    closes_at: datetime | None = None
    fenced_at: datetime | None = None
    ended_at: datetime | None = None
    epochs_destroyed: int = 0
    destruction: Destruction = field(default_factory=lambda: Destruction(""))
    is_kept: bool = False
    is_complete: bool = False
    receipts: tuple[Receipt, ...] = ()

    @property
    def is_removing(self) -> bool:
        """Whether logging is asked to erase, and has not said yet that it has."""
        return self.state is ErasureState.ERASING and self.receipt("logging") is None

    def next(self, now: datetime | None = None) -> "Erasure":
        """The erasure in its next state; with `now` where that is DONE. Raises WRONG_STATE at the end."""
        if self.state is ErasureState.DONE:
            raise wrong_state("The erasure is done.", self.state)
        state = _ORDER[_ORDER.index(self.state) + 1]
        return replace(self, state=state, ended_at=now if state is ErasureState.DONE else self.ended_at)

    def keeping(self, kept: Mapping[str, int]) -> "Erasure":
        """The erasure whose receipts say what these services keep now."""
        receipts = (replace(one, kept=kept.get(one.service, one.kept)) for one in self.receipts)
        return replace(self, receipts=tuple(receipts))

    def receipt(self, service: str) -> Receipt | None:
        """What a service did, once it has."""
        return next((receipt for receipt in self.receipts if receipt.service == service), None)

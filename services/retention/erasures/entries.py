"""What the audit log is told of erasures: in the organization's own list."""

from datetime import datetime
from typing import Protocol

from services.retention.store import Tx
from shared.audit import entry
from shared.clock import Clock
from shared.outbox import Outbox


class _Erasure(Protocol):
    @property
    def erasure_id(self) -> str: ...

    @property
    def organization_id(self) -> str: ...


class ErasureEntries:
    """Writes entries, of erasures of all kinds."""

    def __init__(self, clock: Clock, outbox: Outbox) -> None:
        self._clock = clock
        self._outbox = outbox

    def write(
        self,
        tx: Tx,
        erasure: _Erasure,
        kind: str,
        actor: str,
        *,
        at: datetime | None = None,
        **facts: str | int | bool,
    ) -> None:
        """Writes one in the caller's transaction. at: the act's own instant, where the erasure has it."""
        self._outbox.audit(
            tx,
            entry(
                kind,
                actor=actor,
                at=at or self._clock.now(),
                organization_id=erasure.organization_id,
                subjects=[erasure.erasure_id],
                facts=facts,
            ),
        )

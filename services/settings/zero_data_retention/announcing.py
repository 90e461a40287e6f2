"""What is written down, and who is told, of an act on zero data retention."""

from datetime import datetime

from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.store import Tx
from services.settings.store.zero_data_retention import ZdrRequest
from services.settings.telling.notifications import Ids, Notifications
from shared import audit
from shared.clock import Clock
from shared.enums import short_name
from shared.outbox import Outbox


class Announcer:
    """Puts an act into the audit log and among the events, in the act's own transaction."""

    def __init__(self, clock: Clock, outbox: Outbox, notifications: Notifications) -> None:
        self._clock = clock
        self._outbox = outbox
        self._notifications = notifications

    def audit(
        self,
        tx: Tx,
        kind: str,
        actor: str,
        request: ZdrRequest,
        facts: dict[str, str | int | bool],
        at: datetime | None = None,
    ) -> None:
        """Writes an act down. kind: of shared.audit_kinds. at: the act's own instant, where the replay needs it; else now."""
        self._outbox.audit(
            tx,
            audit.entry(
                kind,
                actor=actor,
                at=at or self._clock.now(),
                organization_id=request.organization_id,
                subjects=[request.request_id],
                facts=facts,
            ),
        )

    def tell(self, tx: Tx, event: str, actor: str, request: ZdrRequest, whom: str) -> None:
        """Tells of it. event: of services.settings.telling.notifications; whom: CUSTOMER, VENDOR or SALES_REPRESENTATIVE."""
        self._notifications.emit(
            tx,
            event,
            Ids(
                organization_id=request.organization_id,
                subject_id=request.request_id,
                actor=actor,
                tell=whom,
                state=short_name(contract.ZeroDataRetentionState, request.state),
                due_at=request.ends_at
                if request.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
                else None,
                effective_at=request.end_effective_at or request.effective_at,
            ),
        )

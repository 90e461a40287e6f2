"""What the audit log, and receivers of notifications, are told of holds: in the organization's own list, but of what it must not know."""

from datetime import datetime

from services.retention.holds.hold import Hold, HoldKind, HoldScope
from services.retention.notifications import Ids, Notifications
from services.retention.store import Tx
from shared.audit import entry
from shared.clock import Clock
from shared.outbox import Outbox


class HoldEntries:
    """Writes entries. All that is said of holds goes through here."""

    def __init__(self, clock: Clock, outbox: Outbox, notifications: Notifications) -> None:
        self._clock = clock
        self._outbox = outbox
        self._notifications = notifications

    def write(
        self,
        tx: Tx,
        hold: Hold,
        kind: str,
        actor: str,
        at: datetime | None = None,
        /,
        *,
        subjects: tuple[bytes, ...] = (),
        **facts: str | int,
    ) -> None:
        """Writes one in the caller's transaction. hold: as it is by then; at: the act's own instant, where the hold has it; facts: but its
        kind."""
        if hold.kind is HoldKind.LEGAL and not hold.is_secret:
            self._notifications.emit(tx, kind, Ids(hold.organization_id, hold.hold_id, hold.state))
        self._outbox.audit(
            tx,
            entry(
                kind,
                actor=actor,
                at=at or self._clock.now(),
                # Of what the customer must not know the vendor's own list tells.
                organization_id="" if hold.is_secret else hold.organization_id,
                subjects=[hold.hold_id, *([hold.organization_id] if hold.is_secret else []), *subjects],
                facts={"hold_kind": hold.kind, **facts},
            ),
        )


def scope_facts(scope: HoldScope | None) -> dict[str, str | int]:
    """What a hold is on, but for whose records: the log outlives the pseudonym."""
    if scope is None:
        return {}
    facts: dict[str, str | int] = {"scope": "end_user" if scope.end_user else "organization"}
    if scope.first_day is not None:
        facts["first_day"] = scope.first_day.isoformat()
    if scope.last_day is not None:
        facts["last_day"] = scope.last_day.isoformat()
    return facts


def secrecy_facts(hold: Hold) -> dict[str, str | int]:
    """Why nobody tells of a hold, and until when."""
    if hold.secrecy is None:
        return {}
    return {
        "legal_basis": hold.secrecy.legal_basis,
        "secrecy_review_at": hold.secrecy.review_at.isoformat(),
    }

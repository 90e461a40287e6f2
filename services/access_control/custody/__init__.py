"""Custody of the keys that open content: the ladder of docs/keys.md, and its destruction.

custody = Custody(database, clock, key_store, audit_log, is_due=…, is_closed=…, survivors_must_be_on="nowhere")
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from services.access_control.audit_log import AuditLog
from services.access_control.key_stores import KeyStore
from services.access_control.store import Connection
from shared.clock import Clock
from shared.database import Database
from shared.jobs import Job

SurvivorsMustBeOn = Literal["nowhere", "standby", "archive"]


@dataclass(frozen=True)
class EpochKey:
    """epoch_key_id: "epoch_…". public_key: 1,216 bytes."""

    epoch_key_id: str
    public_key: bytes


class Custody:
    """SKELETON, being filled. job: put it among the service's jobs. Call `verify_at_start()` once in wire(), after the audit log's."""

    job: Job

    def __init__(
        self,
        database: Database,
        clock: Clock,
        key_store: KeyStore,
        audit_log: AuditLog,
        *,
        is_due: Callable[[str, date], bool],
        is_closed: Callable[[str], bool],
        survivors_must_be_on: SurvivorsMustBeOn = "nowhere",
        late_window: timedelta = timedelta(hours=24),
        pause: Callable[[str], None] | None = None,
    ) -> None:
        raise NotImplementedError

    def verify_at_start(self) -> None:
        """Makes the first root of an empty installation, or finds the current one. Raises shared.config.ConfigError."""
        raise NotImplementedError

    def epoch_key(self, organization_id: str, day: date) -> EpochKey:
        """Raises KEY_DESTROYED, INVALID_ARGUMENT (day outside the window)."""
        raise NotImplementedError

    def record_keys(
        self,
        tx: Connection,
        organization_id: str,
        records: Sequence[tuple[bytes, bytes]],
        sealed: Mapping[bytes, bytes],
    ) -> dict[bytes, bytes]:
        """records: (record id, data key id); those with an empty data key id are left out of the answer. Raises OUTSIDE_SCOPE."""
        raise NotImplementedError

    def retained(self, tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> set[bytes]:
        """Which of these records a hold keeps (they may be read past their due instant)."""
        raise NotImplementedError

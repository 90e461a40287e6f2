"""What an operator wants to see of grants, keys and the audit log."""

from datetime import timedelta
from typing import Final

from prometheus_client import Gauge

from services.access_control.store import audit, custody, grants
from shared.clock import Clock
from shared.database import Database
from shared.jobs import Job
from shared.telemetry import ALERT

_EVERY: Final = timedelta(seconds=30)
# Counting keys looks at each of them.
_KEYS_EVERY: Final = timedelta(minutes=5)
_GRANTS: Final = Gauge("kept_open_grants", "Grants that are good now, of data and of powers.", ["scope"])
_HEAD: Final = Gauge(
    "kept_audit_head_timestamp_seconds", "When the newest head of the audit log was signed (Unix time)."
)
_ENTRIES: Final = Gauge("kept_audit_log_entries", "Entries in the audit log's tree.")
_KEYS: Final = Gauge(
    "kept_custody_keys",
    "Keys that open something, by kind; destroyed: of which a tombstone is left.",
    ["kind", "state"],
)


class Figures:
    """The jobs that take them. Every process takes the same: a dashboard shows the largest."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.jobs = (Job("figures", _EVERY, self.take), Job("key_figures", _KEYS_EVERY, self.take_keys))

    def take(self) -> bool:
        """Grants and the audit log: a job's step."""
        with self._database.transaction() as tx:
            data, powers = grants.count_in_force(tx, self._clock.now())
            tree = audit.read_tree(tx)
            size, listed = (0, 0) if tree is None else audit.count_listed(tx)
        _GRANTS.labels("data").set(data)
        _GRANTS.labels("power").set(powers)
        if tree is not None:
            # The head of the empty tree is signed as of the first second there is.
            _HEAD.set(tree.timestamp_ms / 1000)
            _ENTRIES.set(size)
        ALERT.labels("audit_lists_off").set(listed != size)
        return False

    def take_keys(self) -> bool:
        """Keys: a job's step."""
        with self._database.transaction() as tx:
            counts = custody.count(tx)
        for kind, living, destroyed in (
            ("organization", counts.organization_keys, counts.closed_organizations),
            ("epoch", counts.epochs, counts.destroyed_epochs),
            ("hold", counts.holds, counts.released_holds),
            ("retained_record", counts.retained_records, 0),
            ("root", 1, counts.destroyed_roots),
        ):
            _KEYS.labels(kind, "living").set(living)
            _KEYS.labels(kind, "destroyed").set(destroyed)
        return False

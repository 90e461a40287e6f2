"""Whether a service can serve, looked at again and again by a thread of its own.

A look takes as long as whoever is asked takes to answer, which may be for ever; so nobody waits for it. What is asked has a connection of
its own: calls that keep all others busy say nothing about the database, and a replica that went away for that would leave its calls to the
next.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from shared.clock import Clock
from shared.database import Database, schema_is_current
from shared.errors import KeptError
from shared.redaction import where
from shared.service import Service

# From the end of one look to the next, and as long as it is not ready.
_INTERVAL: Final = timedelta(seconds=1)
_INTERVAL_UNREADY: Final = timedelta(seconds=0.1)
# Seconds since the end of the newest look after which its answer counts no more. A database that vanished without a word is noticed by the
# connection a little earlier (shared.database).
_COUNTS_FOR: Final = 10.0
_log = structlog.get_logger(__name__)


class Readiness:
    """Health by part, as grpc.health.v1 names it. "" is readiness: what is ours alone counts, never a peer's state; but a gate that has
    not been opened yet lets nobody in.

    machine_clock: how old an answer is; a local stack's travels.
    """

    def __init__(self, service: Service, database: Database, migrations: Path, machine_clock: Clock) -> None:
        self._service = service
        self._database = database.apart()
        self._migrations = migrations
        self._clock = machine_clock
        parts = ("", "database", *(["leases"] if service.leases else []), *service.parts)
        self._newest: tuple[Mapping[str, bool], float] = dict.fromkeys(parts, False), machine_clock.boottime()
        self._crashed: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="readiness", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more, and waits a second at most for a look that goes on."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._database.close()

    def found(self) -> Mapping[str, bool]:
        """What the newest look found, at once; nothing is well before the first, and while the next one finds no end."""
        parts, at = self._newest
        if self._clock.boottime() - at > _COUNTS_FOR:
            return dict.fromkeys(parts, False)
        return parts

    def look(self) -> dict[str, bool]:
        """Looks now."""
        service = self._service
        has_database = self._is_well("database", lambda: schema_is_current(self._database, self._migrations))
        found = {
            "": has_database and (service.gate is None or service.gate.is_open()),
            "database": has_database,
        }
        if service.leases:
            found["leases"] = all(self._is_well("leases", require) for require in service.leases)
        return found | {part: self._is_well(part, check) for part, check in service.parts.items()}

    def _watch(self) -> None:
        while not self._stopping.is_set():
            found = self.look()
            self._newest = found, self._clock.boottime()
            self._stopping.wait((_INTERVAL if found[""] else _INTERVAL_UNREADY).total_seconds())

    def _is_well(self, part: str, check: Callable[[], bool | None]) -> bool:
        crashed = ""
        try:
            return check() is not False
        except KeptError:
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well; the type is logged, the text may hold data
            crashed = f"{type(error).__name__} {where(error)}"
            if self._crashed.get(part) != crashed:  # once, not once a look
                _log.error("health.crashed", part=part, error=type(error).__name__, where=where(error))
            return False
        finally:
            self._crashed[part] = crashed

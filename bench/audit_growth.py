"""Appending to a long audit log against appending to a short one: two logs in two databases of one server, in turns."""

import hmac
import os
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from psycopg import Connection

from bench.figures import Figure, in_turns, median_ratio
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.access_control.v1 import audit_pb2
from services.access_control.audit.log import AuditLog
from services.access_control.key_stores.files import FileKeyStore
from shared.audit import entry
from shared.clock import SystemClock
from shared.database import Database, migrate
from shared.ids import derived_id

_MIGRATIONS: Final = Path(__file__).parents[1] / "services" / "access_control" / "migrations"
_ORGANIZATIONS: Final = 10_000
_SHORT: Final = 1_000
# What a decision's entry is long.
_BODY_BYTES: Final = 450
_COPY: Final = "COPY audit_entries (entry_id, organization_id, kind, body, salt, commitment, appended_at) FROM STDIN (FORMAT BINARY)"


def measure(small: bool) -> Iterator[Figure]:
    """`audit_growth`."""
    long, rounds = (20_000, 100) if small else (1_000_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="kept-bench-") as directory:
        home = Path(directory)
        server = Postgres(home / "data", port=free_ports(1)[0], password="bench", log=home / "log")
        server.start()
        try:
            logs = [_Log(server, home, f"log_{entries}", entries) for entries in (long, _SHORT)]
            of_long, of_short = in_turns(logs[0].append, logs[1].append, rounds)
            for log in logs:
                log.close()
        finally:
            server.stop()
    yield Figure(
        "audit_growth",
        median_ratio(of_long, of_short),
        "ratio",
        False,
        f"one entry appended durably, placed in the tree and the new head signed, at {long:,} entries ÷ at {_SHORT:,}; the median of "
        f"{rounds} ratios, in turns; {_ORGANIZATIONS:,} organizations",
    )


class _Log:
    """A log with so many entries, all in the tree."""

    def __init__(self, server: Postgres, home: Path, name: str, entries: int) -> None:
        self._database = Database(server.ensure_database(name, "bench"), pool=2)
        migrate(self._database, _MIGRATIONS)
        keys = home / f"keys_{name}"
        keys.mkdir(mode=0o700)
        self._clock = SystemClock()
        self._log = AuditLog(self._database, self._clock, FileKeyStore(keys), batch=20_000)
        self._log.verify_at_start()
        self._next = 0
        with server.administration(name) as connection:
            self._fill(connection, entries)
            while self._log.integrate():
                pass
            connection.execute("VACUUM ANALYZE")  # as the server does by itself, given time

    def append(self) -> None:
        """One more entry, of one organization or another."""
        self._next += 1
        self._log.append_all([self._entry()], "safety_review")
        self._log.integrate()

    def close(self) -> None:
        """Gives connections back."""
        self._database.close()

    def _entry(self) -> audit_pb2.AuditEntry:
        return entry(
            "records.flagged",
            actor="service:safety_review",
            at=self._clock.now(),
            organization_id=_organization(self._next),
            subjects=[str(uuid.uuid4()) for _ in range(6)],
        )

    def _fill(self, connection: Connection, entries: int) -> None:
        now: datetime = self._clock.now()
        with connection.cursor() as cursor, cursor.copy(_COPY) as rows:
            rows.set_types(["text", "text", "text", "bytea", "bytea", "bytea", "timestamptz"])
            for number in range(entries):
                body, salt = os.urandom(_BODY_BYTES), os.urandom(32)
                rows.write_row(
                    (
                        derived_id("entry", os.urandom(17)),
                        _organization(number * 7919),
                        "records.screened",
                        body,
                        salt,
                        hmac.digest(salt, body, "sha256"),
                        now,
                    )
                )


def _organization(number: int) -> str:
    return derived_id("org", (number % _ORGANIZATIONS).to_bytes(17))

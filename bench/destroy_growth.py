"""One destruction, from the first mark to the end of the old root, with many live organizations against few: a nightly run, which marks a
day of every organization's; and the erasure of a single one, which marks next to nothing. Both end in a new root, under which every living
organization's key is wrapped again. PostgreSQL is embedded and durable, the key store a directory of files.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final, cast

import psycopg

from bench.figures import Figure, seconds
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from services.access_control.audit.log import AuditLog
from services.access_control.custody import Custody
from services.access_control.custody.ladder import Ladder, wrap_epoch
from services.access_control.custody.sealing import EpochPrivateKey
from services.access_control.key_stores.files import FileKeyStore
from services.access_control.store import Connection, epochs
from shared.clock import SystemClock
from shared.database import Database, migrate
from shared.ids import new_id

_MIGRATIONS: Final = Path("services/access_control/migrations")
_BATCH: Final = 5_000


class Installation:
    """A database with so many organizations, each with a key and an epoch of today; and custody of them."""

    def __init__(self, server: Postgres, home: Path, organizations: int) -> None:
        name = f"custody_{organizations}"
        self._server = server
        self._clock = SystemClock()
        self._today = self._clock.now().date()
        self._oldest = self._today
        self._closed: set[str] = set()
        self._database = Database(server.ensure_database(name, "bench"), pool=4)
        migrate(self._database, _MIGRATIONS)
        key_store = FileKeyStore(home / name)
        self._ladder = Ladder(key_store)
        audit_log = AuditLog(self._database, self._clock, key_store)
        self._custody = Custody(
            self._database,
            self._clock,
            key_store,
            audit_log,
            is_due=lambda _, day: day < self._today,
            is_closed=lambda organization_id: organization_id in self._closed,
        )
        audit_log.verify_at_start()
        self._custody.verify_at_start()
        # One key pair for all: what it costs to wrap is the same, and making 100,000 takes a while.
        self._epoch_key = EpochPrivateKey.generate()
        self._public_key = self._epoch_key.public_bytes
        self._ids = sorted(new_id("org") for _ in range(organizations))
        self._add_organizations()
        self._add_epochs(self._today)

    @property
    def organizations(self) -> int:
        """How many live."""
        return len(self._ids)

    def run(self) -> float:
        """Seconds of a run that destroys a day of every organization's, each of which has another day left."""
        self._oldest -= timedelta(days=1)
        self._add_epochs(self._oldest)
        return self._timed("destroy_through", new_id("run"), self._oldest)

    def erase_one(self) -> float:
        """Seconds of the erasure of one organization."""
        erased = self._ids.pop()
        self._closed.add(erased)
        return self._timed("destroy_organization", new_id("erasure"), erased)

    def close(self) -> None:
        """Checks that every survivor opens, and disconnects."""
        with self._database.transaction() as tx:
            assert self._ladder.opens_survivors(tx)
        assert self._custody.status().counts.epochs == self.organizations
        self._database.close()

    def _timed(self, method: str, *target: object) -> float:
        with self._server.administration() as connection:
            connection.execute("CHECKPOINT")  # of what was added; not in the middle of what is measured
        return seconds(lambda: self._carry_out(method, *target))

    def _carry_out(self, method: str, *target: object) -> None:
        # As retention and the service's own job do together.
        while getattr(self._custody, method)(*target).state != "done":
            self._custody.advance()

    def _add_organizations(self) -> None:
        now = self._clock.now()
        for start in range(0, len(self._ids), _BATCH):
            generations = dict.fromkeys(self._ids[start : start + _BATCH], 1)
            with self._database.transaction() as tx:
                rows = [row for _, row in self._ladder.new_organization_keys(tx, generations)]
                _copy(
                    tx,
                    "organization_keys (organization_id, generation, root_id, wrapped, made_at)",
                    [(row.organization_id, row.generation, row.root_id, row.wrapped, now) for row in rows],
                )

    def _add_epochs(self, day: date) -> None:
        now = self._clock.now()
        after = ""
        with self._database.transaction() as tx:
            while rows := epochs.organizations_after(tx, after, _BATCH):
                after = rows[-1].organization_id
                made = []
                for row, key in zip(rows, self._ladder.open_organizations(rows), strict=True):
                    epoch_key_id = new_id("epoch")
                    wrapped = wrap_epoch(key, row.organization_id, day, epoch_key_id, self._epoch_key)
                    made.append((row.organization_id, day, epoch_key_id, self._public_key, wrapped, now))
                _copy(
                    tx, "epoch_keys (organization_id, day, epoch_key_id, public_key, wrapped, made_at)", made
                )


def _copy(tx: Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    driver = cast("psycopg.Connection[tuple[object, ...]]", tx.connection.driver_connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def measure(small: bool) -> Iterator[Figure]:
    """`destroy_growth`, `erase_growth`, and the seconds behind them."""
    few, many, rounds = (100, 1_000, 1) if small else (1_000, 100_000, 3)
    with tempfile.TemporaryDirectory(prefix="kept-bench-") as directory:
        home = Path(directory)
        server = Postgres(home / "data", port=free_ports(1)[0], password="bench", log=home / "log")
        server.start()
        try:
            large, little = Installation(server, home, many), Installation(server, home, few)
            # In turns, and the little one several times around the large one, whose run lasts a while.
            little_runs, large_runs = [little.run()], []
            for _ in range(rounds):
                large_runs.append(large.run())
                little_runs += [little.run() for _ in range(5)]
            little_erasures, large_erasures = [little.erase_one()], []
            for _ in range(rounds):
                large_erasures.append(large.erase_one())
                little_erasures += [little.erase_one() for _ in range(5)]
            large.close()
            little.close()
        finally:
            server.stop()
    large_run, little_run = statistics.median(large_runs), statistics.median(little_runs)
    large_erasure, little_erasure = statistics.median(large_erasures), statistics.median(little_erasures)
    yield Figure(
        "destroy_growth",
        (large_run / many) / (little_run / few),
        "ratio",
        False,
        f"a run that destroys a day of each of {many} organizations ÷ of {few}, seconds per organization",
    )
    yield Figure(
        "destroy_run_s",
        large_run,
        "seconds",
        False,
        f"that run of {many}: marks, new root, everything wrapped again, old root destroyed",
    )
    yield Figure(
        "destroy_one_growth",
        (large_erasure / many) / (little_erasure / few),
        "ratio",
        False,
        f"the erasure of one organization among {many} ÷ among {few}, seconds per living organization",
    )
    yield Figure(
        "destroy_one_s",
        large_erasure,
        "seconds",
        False,
        f"that erasure among {many}: little more than wrapping their keys again",
    )

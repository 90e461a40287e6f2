"""Logging's part of a retention run, against what nobody can do without: DROP of a partition with the same rows. Both in turns, in one
database, each on a partition that was filled for it; one exists at a time."""

import sys
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from bench.figures import Figure, median_ratio, seconds
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.access_control.v1 import audit_pb2
from services.logging import store
from services.logging.lifecycle.acts import Lifecycle
from services.logging.policies import Policies
from services.logging.store import partitions
from services.logging.usage.counting import Counting
from shared.clock import SystemClock
from shared.database import Database, migrate
from shared.ids import new_id
from shared.outbox import Outbox
from shared.rules import Rules

_MIGRATIONS: Final = Path("services/logging/migrations")
_ORGANIZATION: Final = "org_" + "b" * 26
_CHUNK: Final = 500_000
# Rows of log data with content of 200 bytes, spread over the day; what belongs to a day besides, as ingest leaves it.
_ROWS: Final = """
INSERT INTO interactions (organization_id, record_id, received_at, gateway, application, model, end_user, prompt_tokens,
    generation_tokens, finish_reason, latency_us, data_key_id, content, api_key_kind)
SELECT '{organization}', (lpad(to_hex({first_ms} + n * 86000000::bigint / {rows}), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
    now(), 'edge', 'bench', 'model-1', 'user-' || mod(n, 1000), 180, 180, 'stop', 900000, '{data_key}', decode(repeat('ab', 200), 'hex'), 1
FROM generate_series({first}, {last}) AS n
"""
_COUNTS: Final = (
    "INSERT INTO stored_counts (day, organization_id, writer, records, records_with_content) "
    "VALUES ('{day}', '{organization}', 'bench', {rows}, {rows})"
)
_DATA_KEY: Final = "00000000-0000-7000-8000-000000000001"


class _AllDue(Rules):
    """Rules by which every day is due: what is due is not what is measured."""

    def __init__(self) -> None:
        pass

    def require_lease(self) -> None:
        """There is always one."""

    def is_due_by_all(self, organization_id: str, day: date) -> bool:
        return True


class _Policies(Policies):
    """Those rules, and nothing else."""

    def __init__(self) -> None:
        self.rules = _AllDue()


class Days:
    """Logging's database, and days in it that are filled and taken away."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._clock = SystemClock()
        self._database = Database(server.ensure_database("retention_ratio", "bench"), pool=4)
        migrate(self._database, _MIGRATIONS)
        outbox = Outbox(store.outbox, self._database, self._clock, _nobody)
        counting = Counting(self._database)
        self._lifecycle = Lifecycle(self._database, self._clock, _Policies(), outbox, counting.periods)
        self._day = self._clock.now().date() - timedelta(days=40)

    def fill(self, rows: int) -> date:
        """A day with so many rows, checkpointed."""
        self._day -= timedelta(days=1)
        low, _ = partitions.bounds(self._day)
        first_ms = low.int >> 80
        with self._database.transaction() as tx:
            partitions.make(tx, self._day)
        # A month later vacuum has been there long ago.
        at_rest = "SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)"
        self._do(f"ALTER TABLE {partitions.partition_name(self._day)} {at_rest}")
        for first in range(0, rows, _CHUNK):
            last = min(first + _CHUNK, rows) - 1
            self._do(
                _ROWS.format(
                    organization=_ORGANIZATION,
                    first_ms=first_ms,
                    rows=rows,
                    first=first,
                    last=last,
                    data_key=_DATA_KEY,
                )
            )
            sys.stderr.write(f"\r  {last + 1:,} of {rows:,} rows")
        sys.stderr.write("\n")
        self._do(_COUNTS.format(day=self._day, organization=_ORGANIZATION, rows=rows))
        with self._server.administration() as connection:
            connection.execute("CHECKPOINT")
        return self._day

    def by_logging(self, day: date) -> float:
        """Seconds of logging's part: close the day, drop it with all that belongs to it, say so."""
        return seconds(lambda: self._lifecycle.drop(new_id("run"), day))

    def bare(self, day: date) -> float:
        """Seconds of DROP alone."""
        took = seconds(lambda: self._do(f"DROP TABLE {partitions.partition_name(day)}"))
        self._do(f"DELETE FROM stored_counts WHERE day = '{day}'")
        return took

    def close(self) -> None:
        """Disconnects."""
        self._database.close()

    def _do(self, statement: str) -> None:
        with self._database.engine.begin() as connection:
            connection.exec_driver_sql(statement)


def _nobody(request: audit_pb2.AppendEntriesRequest) -> audit_pb2.AppendEntriesResponse:
    raise AssertionError("nothing is delivered here")


def measure(small: bool) -> Iterator[Figure]:
    """`retention_ratio`, and the seconds behind it."""
    rows, rounds = (50_000, 5) if small else (10_000_000, 5)
    over: list[float] = []
    under: list[float] = []
    with tempfile.TemporaryDirectory(prefix="kept-bench-") as directory:
        home = Path(directory)
        server = Postgres(home / "data", port=free_ports(1)[0], password="bench", log=home / "log")
        server.start()
        try:
            days = Days(server)
            for _ in range(rounds + 1):  # the first is not counted
                over.append(days.by_logging(days.fill(rows)))
                under.append(days.bare(days.fill(rows)))
            days.close()
        finally:
            server.stop()
    yield Figure(
        "retention_ratio",
        median_ratio(over[1:], under[1:]),
        "ratio",
        False,
        f"logging's part of a run over {rows:,} due rows with content of 200 bytes ÷ bare DROP of the same partition, in turns",
    )
    yield Figure(
        "retention_drop_s",
        sorted(over[1:])[rounds // 2],
        "seconds",
        False,
        f"logging's part over {rows:,} rows",
    )

"""Records that become due together, and the retention run that takes them: all services in one process, as the simulation has them, on an
embedded PostgreSQL with durable commits. Nothing goes wrong here, and the clock is set forward by the term.

One record of each organization comes the way that records come, with its epoch and data key; the others of its day are copies of it, made
inside the database, with ids of their own and content of 200 bytes, and counted as they would have been. Ten million rows take some minutes
that way, and one table of that size exists at a time.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from bench.figures import seconds
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from shared.ids import new_id, record_day
from tests.simulation.actors.gateway import Gateway
from tests.simulation.beginning import begin, join
from tests.simulation.clocks import WorldTime
from tests.simulation.databases import Databases
from tests.simulation.model import Organization
from tests.simulation.scene import Scene, stamp
from tests.simulation.world import World
from tests.support.postgres import TestServer

ORGANIZATIONS: Final = 8
_CHUNK: Final = 250_000
_HELD_A_CALL: Final = 500
# Longer than the default term of 30 days, and than late records take.
_TERM: Final = timedelta(days=32)
_COPIES: Final = """
INSERT INTO interactions SELECT organization_id,
    (substr(replace(record_id::text, '-', ''), 1, 12) || '70008' || lpad(to_hex(n), 15, '0'))::uuid,
    received_at, gateway, application, model, end_user, prompt_tokens, generation_tokens, finish_reason, latency_us, data_key_id,
    decode(repeat('ab', 200), 'hex'), verdict, rules_version, api_key_kind
FROM interactions, generate_series({first}, {last}) AS n
WHERE organization_id = '{organization_id}' AND record_id = '{record_id}'
"""
_COUNTED: Final = """
UPDATE stored_counts SET records = records + {rows}, records_with_content = records_with_content + {rows}
WHERE ctid = (SELECT min(ctid) FROM stored_counts WHERE organization_id = '{organization_id}' AND day = '{day}')
"""
# A run's step goes on as long as there is something to do, rows included: when the keys were gone, the database knows.
_NOTING: Final = """
CREATE TABLE unreadable (run_id text PRIMARY KEY, at timestamptz NOT NULL);
CREATE FUNCTION note_unreadable() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO unreadable VALUES (new.run_id, clock_timestamp()); RETURN NULL; END $$;
CREATE TRIGGER unreadable AFTER UPDATE ON runs FOR EACH ROW
WHEN (old.state = 'DESTROYING_KEYS' AND new.state <> 'DESTROYING_KEYS') EXECUTE FUNCTION note_unreadable()
"""


@dataclass(frozen=True)
class Took:
    """Seconds of a run: until the keys of everything due were destroyed, and altogether. removed: rows that it says are gone."""

    unreadable: float
    whole: float
    removed: int


class DueRecords:
    """A world with some organizations, into which records are put, and out of which a run takes them."""

    def __init__(self, server: Postgres, world: World) -> None:
        self._server = server
        self.world = world
        self._scene = Scene(world)
        begin(self._scene)
        world.databases.looks.run("retention", _NOTING)
        while len(self._customers) < ORGANIZATIONS:
            join(self._scene, "SAAS")
        world.time.advance(timedelta(hours=1))

    @property
    def _customers(self) -> list[Organization]:
        return self._scene.open_organizations()

    def put(self, rows: int, held: int = 0) -> None:
        """So many rows of one day, so many of them held by holds that name them."""
        looks, gateway = self.world.databases.looks, Gateway(self._scene)
        share = rows // len(self._customers)
        for number, organization in enumerate(self._customers, start=1):
            self.world.leases()
            sent = gateway.sends_one(organization)
            name, day = organization.organization_id, record_day(sent.record_id)
            for first in range(1, share, _CHUNK):
                last = min(first + _CHUNK, share) - 1
                record_id = UUID(bytes=sent.record_id)
                looks.run(
                    "logging",
                    _COPIES.format(first=first, last=last, organization_id=name, record_id=record_id),
                )
                sys.stderr.write(f"\r  {(number - 1) * share + last:,} of {rows:,} rows")
            looks.run("logging", _COUNTED.format(rows=share - 1, organization_id=name, day=day))
            self._hold(name, sent.record_id, held // len(self._customers))
        looks.run("logging", "ANALYZE interactions")
        sys.stderr.write("\n")
        self.world.settle()
        with self._server.administration() as connection:
            connection.execute("CHECKPOINT")  # of what was added; not in the middle of what is measured

    def _hold(self, organization_id: str, record_id: bytes, records: int) -> None:
        holds = holds_pb2_grpc.HoldServiceStub(self.world.service("safety_review", "retention"))
        for first in range(1, records + 1, _HELD_A_CALL):
            last = min(first + _HELD_A_CALL, records + 1)
            ids = [record_id[:6] + bytes.fromhex(f"70008{number:015x}") for number in range(first, last)]
            hold = holds.PlaceHold(
                holds_pb2.PlaceHoldRequest(
                    request_id=new_id("request"),
                    kind=holds_pb2.HOLD_KIND_FLAGGED,
                    organization_id=organization_id,
                    record_ids=ids,
                    reference="case_" + "0" * 26,
                    review_at=stamp(self._scene.now + timedelta(days=365)),
                )
            ).hold
            assert hold.state == holds_pb2.HOLD_STATE_ACTIVE
            assert not hold.lost

    def run(self) -> Took:
        """What is there becomes due, and a run takes it."""
        self.world.time.advance(_TERM)
        self.world.leases()
        known = self._runs()
        unreadable = whole = 0.0
        while True:
            before, begun = whole, time.time()
            whole += seconds(self._step)
            started = [run for run in self._runs() if run not in known]
            if started and not unreadable and (at := self._unreadable_at(started[0][0])):
                unreadable = before + at - begun
            if started and started[0][1] == "DONE":
                return Took(unreadable, whole, started[0][2])
            assert not started or started[0][1] != "NOT_CERTIFIED"
            self.world.time.advance(timedelta(seconds=0.5))
            self.world.leases()

    def _step(self) -> None:
        for room, job in (
            ("retention", "schedule"),
            ("retention", "runs"),
            ("access_control", "custody"),
            ("logging", "outbox"),
            ("retention", "outbox"),
            ("retention", "certificates"),
        ):
            self.world.step_jobs(room, job)

    def _unreadable_at(self, run_id: str) -> float:
        rows = self.world.databases.looks.rows(
            "retention", f"SELECT extract(epoch FROM at) FROM unreadable WHERE run_id = '{run_id}'"
        )
        return float(rows[0][0]) if rows else 0.0

    def _runs(self) -> list[tuple[str, str, int]]:
        return self.world.databases.looks.rows("retention", "SELECT run_id, state, records_removed FROM runs")


@contextmanager
def due_records() -> Iterator[DueRecords]:
    """All services, empty; everything is removed at the end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="kept-bench-") as directory:
        home = Path(directory)
        server = Postgres(home / "data", port=free_ports(1)[0], password="bench", log=home / "log")
        server.start()
        try:
            databases = Databases(TestServer(server))
            world = World(random.Random("bench"), databases, home / "world", WorldTime())
            try:
                yield DueRecords(server, world)
            finally:
                world.close()
                databases.close()
        finally:
            server.stop()
            structlog.reset_defaults()

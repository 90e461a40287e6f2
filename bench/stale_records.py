"""What settings' changes come to under load: eight processes of logging, half of them asking one process of settings and half the other,
store what eight gateways send while organizations choose zero data retention and end it. Now and then a process is stopped for longer than
a lease, of settings or of logging, and gateways send late what they could not send, or did not want to. In the end every row is looked at:
whether it has content, and what was in force when it was created."""

import os
import queue
import random
import signal
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
import sqlalchemy

from bench.figures import Figure
from bench.leases import GATEWAY, leases_on
from bench.logging_service import Logging, logging_running
from bench.settings_service import Settings, add_policies, policy_of, settings_running
from deploy.local.authority import Authority
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc
from services.settings import store
from shared.change_feed import LEASE_DURATION, ChangeFeed
from shared.clock import CLOCK_TOLERANCE, SystemClock
from shared.database import Database
from shared.ids import new_id

_RECEIVERS: Final = 8
_REPLICAS: Final = 2
_BATCH: Final = 20
_CONTENT_BYTES: Final = 200
_CHANGES_A_SECOND: Final = 16
# How long zero data retention lasts, in seconds: some end before the tolerance has passed.
_LASTS: Final = (1.0, 8.0)
# How long before its first change, and after its second, an organization has records, in seconds.
_BEFORE: Final = 2.0
_AFTER: Final = CLOCK_TOLERANCE.total_seconds() + 5.0
_CLOCK: Final = SystemClock()


@dataclass
class _Plan:
    """What is to happen to an organization, in seconds from the beginning. changes: what did: version, effective instant, whether it was
    chosen."""

    organization_id: str
    chosen: float
    ended: float
    changes: list[tuple[int, datetime, bool]] = field(default_factory=list)

    def was_chosen(self, created_at: datetime) -> bool:
        """Whether zero data retention was in force at an instant."""
        made = [zero for _, effective_at, zero in sorted(self.changes) if effective_at <= created_at]
        return bool(made) and made[-1]


def changes_of(small: bool) -> int:
    """How many changes are made: a run that made another number gives no figure."""
    return 100 if small else 1000


def plans_of(changes: int, seed: random.Random) -> list[_Plan]:
    """An organization for every two changes: that zero data retention is chosen, and that it ends."""
    plans = []
    for number in range(changes // 2):
        chosen = _BEFORE + 2 * number / _CHANGES_A_SECOND
        plans.append(_Plan(new_id("org"), chosen, chosen + seed.uniform(*_LASTS)))
    return plans


def measure(small: bool) -> Iterator[Figure]:
    """`stale_records`."""
    changes = changes_of(small)
    seed = random.Random(1)
    plans = plans_of(changes, seed)
    with _everything([plan.organization_id for plan in plans]) as (settings, logging):
        load = _Load(settings, logging, plans, seed)
        load.run()
        rows = _rows(logging)
    by_id = {plan.organization_id: plan for plan in plans}
    forbidden = {
        (organization_id, record_id)
        for record_id, (organization_id, created_at) in load.created.items()
        if by_id[organization_id].was_chosen(created_at)
    }
    kept = {key for key, has_content in rows.items() if has_content}
    require_measured(changes, sum(len(plan.changes) for plan in plans), kept, forbidden & rows.keys())
    yield Figure(
        "stale_records",
        len(forbidden & kept),
        "records",
        False,
        f"with content, of {len(forbidden)} created while that was forbidden; {changes} changes over {_REPLICAS} processes of settings and "
        f"{_RECEIVERS} of logging, {len(load.created)} records, {len(kept)} kept with content and {len(rows) - len(kept)} without; "
        f"{load.refused} batches refused for want of a lease, a process stopped {load.stops} times",
    )


def require_measured(
    wanted: int, made: int, kept: Collection[object], stored_while_forbidden: Collection[object]
) -> None:
    """Raises RuntimeError unless every change was made, something was kept with content, and something was stored while content was
    forbidden: else 0 would be the figure of nothing."""
    if made != wanted or not kept or not stored_while_forbidden:
        raise RuntimeError(
            f"not what was to be measured: {made} of {wanted} changes, {len(kept)} records kept with content, "
            f"{len(stored_while_forbidden)} stored while that was forbidden"
        )


@contextmanager
def _everything(organization_ids: list[str]) -> Iterator[tuple[Settings, Logging]]:
    running: list[Settings] = []

    @contextmanager
    def leases(authority: Authority) -> Iterator[Mapping[str, str]]:
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-bench-")))
            played = stack.enter_context(leases_on("")(authority))
            running.append(stack.enter_context(settings_running(home / "settings", authority, _REPLICAS)))
            add_policies(running[0].database_url, organization_ids, GATEWAY)
            yield {"retention": played["retention"], "settings": running[0].addresses[0]}

    with logging_running(
        _RECEIVERS, leases, lambda number: running[0].addresses[number % _REPLICAS]
    ) as logging:
        yield running[0], logging


class _Load:
    """Changes, records and stops, all at once. created: every record that was sent at least once: whose, and when it was made."""

    def __init__(self, settings: Settings, logging: Logging, plans: list[_Plan], seed: random.Random) -> None:
        self._settings = settings
        self._logging = logging
        self._plans = plans
        self._seed = seed
        self._ends = plans[-1].ended + _AFTER
        self._begun = 0.0
        self._failures: list[BaseException] = []
        self.created: dict[bytes, tuple[str, datetime]] = {}
        self.refused = 0
        self.stops = 0

    def run(self) -> None:
        """Returns when all is over. Raises what went wrong."""
        self._begun = time.monotonic()
        to_do: queue.SimpleQueue[tuple[float, _Plan, bool]] = queue.SimpleQueue()
        for act in sorted(
            [(plan.chosen, plan, True) for plan in self._plans]
            + [(plan.ended, plan, False) for plan in self._plans],
            key=lambda act: act[0],
        ):
            to_do.put(act)
        works = [lambda: self._change(to_do)] * _REPLICAS + [self._stop]
        works += [lambda number=number: self._record(number) for number in range(_RECEIVERS)]  # type: ignore[misc]
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told after all have ended
            self._failures.append(error)

    @property
    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _change(self, to_do: "queue.SimpleQueue[tuple[float, _Plan, bool]]") -> None:
        """One side of settings that changes, with the code that settings changes with."""
        database = Database(self._settings.database_url, pool=1)
        feed = ChangeFeed(store.policy_changes, database, _CLOCK)
        while not to_do.empty():
            try:
                due, plan, chosen = to_do.get_nowait()
            except queue.Empty:
                break
            time.sleep(max(0.0, due - self._now))
            policy = policy_of(plan.organization_id, zero_data_retention=chosen)
            with database.transaction() as tx:
                change = feed.append(tx, "org:" + plan.organization_id, policy.SerializeToString())
            plan.changes.append((change.version, change.effective_at, chosen))
        database.close()

    def _record(self, number: int) -> None:
        """A gateway beside one process of logging: half of what it makes it sends at once, the rest some seconds late."""
        seed = random.Random(number)
        late: list[tuple[float, ingest_pb2.RecordInteractionsRequest]] = []
        with self._logging.channel(number) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            while self._now < self._ends or late:
                alive = [
                    plan for plan in self._plans if plan.chosen - _BEFORE <= self._now <= plan.ended + _AFTER
                ]
                if alive and self._now < self._ends:
                    late.append((self._now + seed.choice((0.0, 0.0, 0.5, 3.0)), self._batch(seed, alive)))
                for due, batch in [one for one in late if one[0] <= self._now]:
                    late.remove((due, batch))
                    try:
                        list(stub.RecordInteractions(iter([batch]), timeout=30))
                    except grpc.RpcError as error:
                        if error.code() != grpc.StatusCode.UNAVAILABLE:
                            raise
                        self.refused += 1
                        late.append((self._now + 0.1, batch))
                time.sleep(0.02)

    def _batch(self, seed: random.Random, alive: list[_Plan]) -> ingest_pb2.RecordInteractionsRequest:
        batch = ingest_pb2.RecordInteractionsRequest()
        for plan in seed.choices(alive, k=_BATCH):
            created_at = _CLOCK.now()
            interaction = self._logging.interaction(created_at, _CONTENT_BYTES)
            interaction.organization_id = plan.organization_id
            batch.interactions.append(interaction)
            self.created[interaction.record_id] = plan.organization_id, created_at
        return batch

    def _stop(self) -> None:
        """Some process sleeps, for longer than a lease or not."""
        pids = [*self._settings.pids, *self._logging.pids]
        while self._now < self._ends - _AFTER:
            pid = self._seed.choice((self._seed.choice(self._settings.pids), self._seed.choice(pids)))
            os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(self._seed.uniform(0.2, 2 * LEASE_DURATION.total_seconds()))
            finally:
                os.kill(pid, signal.SIGCONT)
            self.stops += 1
            time.sleep(self._seed.uniform(0.5, 2.0))


def _rows(logging: Logging) -> dict[tuple[str, bytes], bool]:
    """Of every row, whether it has content."""
    database = Database(logging.database_url, pool=1)
    with database.transaction() as tx:
        rows = tx.execute(
            sqlalchemy.text("SELECT organization_id, record_id, content IS NOT NULL FROM interactions")
        )
        found = {(row[0], row[1].bytes): row[2] for row in rows}
    database.close()
    return found

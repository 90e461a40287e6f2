"""Two replicas of logging under load: one is asked to go and comes back, the other is killed, and no caller notices. `make chaos` does much
more of it."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import psycopg
import pytest

from deploy.chaos.replicas import Processes, Replica, Replicas
from deploy.local import ports
from deploy.local.layout import Addresses
from deploy.local.processes import Process, wait_until
from deploy.local.story.plot import Plot
from kept.client.recorder import Recorder
from kept.logging.v1 import ingest_pb2, interactions_pb2

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]
_KEPT = {ingest_pb2.OUTCOME_STORED, ingest_pb2.OUTCOME_DUPLICATE}


@dataclass
class _Load:
    """A gateway that knows both replicas and has the retries that it is shipped with; what they do not cover fails the test."""

    plot: Plot
    address: str
    acknowledged: set[bytes] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    told: threading.Condition = field(default_factory=threading.Condition)

    def send(self) -> None:
        """Until it is over."""
        gateway = self.plot.stage.stack.identity("gateway/demo")
        files = (gateway.certificate, gateway.key, gateway.authority)
        with Recorder(self.address, *files, now=self.plot.stage.now, deadline=20) as recorder:
            while not self.over.is_set():
                made = interactions_pb2.Interaction(
                    organization_id=self.plot.customers["saas"].organization_id,
                    application="replicas",
                    model="m-1",
                )
                made.content.prompt.add().parts.add(text="one of many")
                (receipt,) = recorder.record([made])
                assert receipt.outcome in _KEPT or receipt.retryable, receipt
                with self.told:
                    if receipt.outcome in _KEPT:
                        self.acknowledged.add(receipt.record_id)
                    self.told.notify_all()

    def wait_for_more(self, records: int) -> None:
        """Until so many more were acknowledged."""
        with self.told:
            enough = len(self.acknowledged) + records
            assert self.told.wait_for(lambda: len(self.acknowledged) >= enough, timeout=20)


def _second_logging(plot: Plot) -> Replicas:
    layout = plot.stage.stack.layout
    own = Addresses(*(f"{ports.LOOPBACK}:{number}" for number in ports.free_ports(4)))
    environment = {
        f"KEPT_LOGGING_{door.upper()}_ADDRESS": getattr(own, door)
        for door in ("services", "people", "health", "metrics")
    }
    return Replicas(layout, Processes(layout), [Replica("logging", 2, own, environment)])


def test_a_replica_that_goes_or_dies_is_not_felt(plot: Plot) -> None:
    stack = plot.stage.stack
    replicas = _second_logging(plot)
    (second,) = replicas.all
    replicas.start(second)
    load = _Load(plot, f"{stack.addresses('logging').services},{second.addresses.services}")
    try:
        with ThreadPoolExecutor(2) as senders:
            sending = [senders.submit(load.send) for _ in range(2)]
            try:
                load.wait_for_more(50)
                pid = next(part.pid for part in stack.status() if part.name == "logging")
                first = None if pid is None else Process.of(pid)
                assert first is not None
                first.send(signal.SIGTERM)
                assert wait_until(lambda: not first.is_running(), patience=15), "streams do not hold it up"
                load.wait_for_more(50)
                assert stack.start(), "the first is started again"
                load.wait_for_more(50)
                replicas.kill(second)
                load.wait_for_more(50)
            finally:
                load.over.set()
            for one in sending:
                one.result(timeout=30)
    finally:
        replicas.remove()
    assert _stored(plot, load.acknowledged) == len(load.acknowledged)


def _stored(plot: Plot, record_ids: set[bytes]) -> int:
    url = plot.stage.stack.database_url("logging").replace("+psycopg", "")
    with closing(psycopg.connect(url)) as connection:
        found = connection.execute(
            "SELECT count(*) FROM interactions WHERE record_id = ANY(%s::uuid[])",
            [[one.hex() for one in record_ids]],
        ).fetchone()
    return int(found[0]) if found else 0

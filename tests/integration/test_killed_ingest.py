"""logging's process is killed at random moments under load, again and again: what it acknowledged is stored, everything exactly once."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from deploy.local import ports
from deploy.local.processes import Process, wait_until
from deploy.local.story.plot import Plot
from kept.client.recorder import Recorder
from kept.logging.v1 import ingest_pb2, interactions_pb2

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

_KILLS = 6
# Records that each sender has under way: one of them more than a batch holds, so that a stream breaks between two batches too.
_UNDER_WAY = (40, 40, 700)
_KEPT = {ingest_pb2.OUTCOME_STORED, ingest_pb2.OUTCOME_DUPLICATE}


@dataclass
class Load:
    """What senders send, each as a gateway does that stops for nothing, and what they were told."""

    plot: Plot
    sent: set[bytes] = field(default_factory=set)
    acknowledged: set[bytes] = field(default_factory=set)
    outcomes: Counter[int] = field(default_factory=Counter)
    broken_off: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    told: threading.Condition = field(default_factory=threading.Condition)

    def send(self, at_once: int) -> None:
        """Until it is over and everything that was begun is acknowledged."""
        stack = self.plot.stage.stack
        gateway = stack.identity("gateway/demo")
        with Recorder(
            stack.addresses("logging").services,
            gateway.certificate,
            gateway.key,
            gateway.authority,
            now=self.plot.stage.now,
            pauses=[0.05] * 400,
            wait=self._pause,
        ) as recorder:
            while not self.over.is_set():
                waiting = [self._interaction(recorder.mint()) for _ in range(at_once)]
                with self.told:
                    self.sent |= {one.record_id for one in waiting}
                while waiting:
                    copies = [
                        interactions_pb2.Interaction.FromString(one.SerializeToString()) for one in waiting
                    ]
                    receipts = recorder.record(copies)
                    self._note(receipts)
                    waiting = [
                        one for one, said in zip(waiting, receipts, strict=True) if said.outcome not in _KEPT
                    ]

    def _interaction(self, record_id: bytes) -> interactions_pb2.Interaction:
        made = interactions_pb2.Interaction(
            record_id=record_id,
            organization_id=self.plot.customers["saas"].organization_id,
            application="killed",
            model="m-1",
            api_key_kind=interactions_pb2.API_KEY_KIND_TRIAL,
        )
        made.content.prompt.add().parts.add(text=record_id.hex() * 4)
        return made

    def _note(self, receipts: list[ingest_pb2.Receipt]) -> None:
        assert all(one.outcome in _KEPT or one.retryable for one in receipts), receipts
        with self.told:
            self.acknowledged |= {one.record_id for one in receipts if one.outcome in _KEPT}
            self.outcomes.update(one.outcome for one in receipts)
            self.told.notify_all()

    def _pause(self, seconds: float) -> None:
        """What the client does before it tries again: it waits, as clients have to, or its tries are over before the process is back."""
        with self.told:
            self.broken_off += 1
        threading.Event().wait(seconds)

    def wait_for_more(self, records: int) -> None:
        """Until so many more were acknowledged."""
        with self.told:
            enough = len(self.acknowledged) + records
            assert self.told.wait_for(lambda: len(self.acknowledged) >= enough, timeout=20), self.outcomes


def _ask(plot: Plot, statement: str, *given: Any) -> Any:
    """One row of logging's database."""
    url = plot.stage.stack.database_url("logging").replace("+psycopg", "")
    with closing(psycopg.connect(url)) as connection:
        return connection.execute(statement, given).fetchone()


def _stored(plot: Plot, record_ids: set[bytes]) -> int:
    (found,) = _ask(
        plot,
        "SELECT count(*) FROM interactions JOIN data_keys USING (data_key_id) WHERE record_id = ANY(%s::uuid[])",
        [one.hex() for one in record_ids],
    )
    return int(found)


def _counted(plot: Plot) -> int:
    """How many records logging's own counts say that the organization has."""
    organization_id = plot.customers["saas"].organization_id
    (found,) = _ask(
        plot, "SELECT sum(records) FROM stored_counts WHERE organization_id = %s", organization_id
    )
    return int(found)


def _kill_logging(plot: Plot) -> None:
    pid = next(part.pid for part in plot.stage.stack.status() if part.name == "logging")
    process = None if pid is None else Process.of(pid)
    assert process is not None
    process.send(signal.SIGKILL)
    # Its threads end after it does, and the last of them lets go of its ports.
    numbers = plot.stage.stack.layout.ports.numbers
    mine = [port for name, port in numbers.items() if name.partition(".")[0] == "logging"]
    assert wait_until(lambda: not process.is_running() and all(map(ports.is_free, mine)), patience=10)


def test_what_is_acknowledged_is_stored_once_however_often_the_process_is_killed(plot: Plot) -> None:
    chance = random.Random(5)
    load, before = Load(plot), _counted(plot)
    with ThreadPoolExecutor(len(_UNDER_WAY)) as senders:
        sending = [senders.submit(load.send, at_once) for at_once in _UNDER_WAY]
        try:
            for _ in range(_KILLS):
                load.wait_for_more(chance.randrange(1, 400))
                load.over.wait(chance.random() * 0.03)  # anywhere within a batch
                _kill_logging(plot)
                with load.told:
                    acknowledged = set(load.acknowledged)
                assert _stored(plot, acknowledged) == len(acknowledged)
                assert plot.stage.stack.start(), "logging was started again"
            load.wait_for_more(1)
        finally:
            load.over.set()
        for one in sending:
            one.result(timeout=30)
    assert load.acknowledged == load.sent
    assert load.broken_off >= _KILLS
    assert _stored(plot, load.sent) == len(load.sent)
    assert _counted(plot) - before == len(load.sent), "counted once, whatever was sent again"
    waiting = "SELECT count(*) FROM usage_arrivals WHERE application = 'killed'"
    assert wait_until(lambda: _ask(plot, waiting) == (0,), patience=10), "all of it is counted a moment later"
    (billed,) = _ask(plot, "SELECT sum(calls) FROM billing_usage WHERE application = 'killed'")
    assert billed == len(load.sent), "billed once too"
    of_trial, rows = _ask(
        plot,
        "SELECT count(*) FILTER (WHERE api_key_kind = 2), count(*) FROM interactions WHERE application = 'killed'",
    )
    assert of_trial == rows == len(load.sent), "nothing is there that was not sent"

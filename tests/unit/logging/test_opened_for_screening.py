"""What is opened for screening is opened one record after the other: some hundred bytes that are stored may be megabytes of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from kept.logging.v1 import interactions_pb2
from services.logging.screening import opening
from services.logging.screening.asking import BATCH_BYTES
from services.logging.sealing import open_content
from services.logging.store.tables import unscreened
from tests.unit.logging import world as worlds
from tests.unit.logging.peers import Peers
from tests.unit.logging.test_rescreening import ask, screened_before
from tests.unit.logging.test_screening_feed import step, waiting
from tests.unit.logging.world import World

_BYTES = 2 * 1024 * 1024


class Memory:
    """Content that was opened and was not handed over yet. opened: how often each record was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: dict[bytes, int] = {}
        self.most = 0
        self.opened: Counter[bytes] = Counter()
        screen = Peers.Screen

        def opened(sealed: bytes, key: bytes, organization_id: str, record_id: bytes, *more: Any) -> bytes:
            content = open_content(sealed, key, organization_id, record_id, *more)
            self.opened[record_id] += 1
            self.sizes[record_id] = len(content)
            self.most = max(self.most, sum(self.sizes.values()))
            return content

        def screened(peers: Peers, requests: Any, context: Any) -> Iterator[Any]:
            for answer in screen(peers, requests, context):
                for one in answer.records:
                    self.sizes.pop(one.record_id, None)
                yield answer

        monkeypatch.setattr(opening, "open_content", opened)
        monkeypatch.setattr(Peers, "Screen", screened)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


def of_one_letter(world: World, number: int) -> list[interactions_pb2.Interaction]:
    return [world.interaction(text="a" * _BYTES) for _ in range(number)]


def left_by_a_process(world: World, records: list[interactions_pb2.Interaction]) -> None:
    for one in records:
        world.record(one)
    world.start()
    world.travel(timedelta(minutes=3))


@pytest.mark.parametrize("job", ["screening_backlog", "rescreening"])
def test_no_more_is_open_than_a_batch_and_the_next_record(memory: Memory, world: World, job: str) -> None:
    records = of_one_letter(world, 9)
    if job == "rescreening":
        for one in records:
            screened_before(world, one)
        ask(world)
    else:
        left_by_a_process(world, records)
    while world.jobs[job].step():
        pass
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records)
    assert waiting(world) == 0
    assert world.peers.calls.count("OpenRecords") == 1, "they are small as they are stored"
    assert 0 < memory.most <= BATCH_BYTES + _BYTES + 1024
    assert set(memory.opened.values()) == {1}


def test_what_cannot_be_screened_now_waits_in_memory_and_what_has_no_room_is_opened_later(
    memory: Memory, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = of_one_letter(world, 9)
    room = 5 * _BYTES + 1024
    small = worlds.config().model_copy(update={"screening_memory_bytes": room})
    monkeypatch.setattr(worlds, "config", lambda: small)
    left_by_a_process(world, records)
    world.peers.down = {"Screen"}
    step(world, "screening_backlog")
    assert memory.most <= room + 2 * _BYTES
    world.peers.down.clear()
    while world.jobs["screening"].step():
        pass
    step(world, "screening")
    in_memory = set(world.peers.screened)
    assert 0 < len(in_memory) < len(records)
    step(world, "screening_backlog")
    assert waiting(world) == len(records) - len(in_memory), "another process may have them yet"
    world.travel(timedelta(minutes=7))
    step(world, "screening_backlog")
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records)
    assert waiting(world) == 0
    assert {one: memory.opened[one] for one in in_memory} == dict.fromkeys(in_memory, 1)
    assert max(memory.opened.values()) == 2


def test_what_does_not_open_is_given_up_and_costs_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = of_one_letter(world, 4)
    left_by_a_process(world, records)

    def opened(sealed: bytes, key: bytes, organization_id: str, record_id: bytes, *more: Any) -> bytes:
        return open_content(
            sealed[: 20 if record_id == records[1].record_id else None],
            key,
            organization_id,
            record_id,
            *more,
        )

    monkeypatch.setattr(opening, "open_content", opened)
    world.jobs["screening_backlog"].step()
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records if one is not records[1])
    with world.database.transaction() as tx:
        left = tx.execute(select(unscreened.c.record_id, unscreened.c.given_up)).all()
    assert [(one.bytes, given_up) for one, given_up in left] == [(records[1].record_id, True)]

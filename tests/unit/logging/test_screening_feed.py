"""Screening: everything once, nothing counts as clean that was not looked at."""

from __future__ import annotations

import os
import threading
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from kept.safety_review.v1 import screening_pb2
from services.logging.screening.asking import Screenable, fresh
from services.logging.screening.feed import ScreeningFeed
from services.logging.store import retention, stripes
from services.logging.store.tables import interactions, retained, unscreened
from shared.errors import KeptError
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import NOON, ORG, OTHER, ZDR
from tests.unit.logging.world import World


def waiting(world: World) -> int:
    with world.database.transaction() as tx:
        return len(tx.execute(select(unscreened.c.record_id)).all())


def verdicts(world: World) -> list[int | None]:
    with world.database.transaction() as tx:
        return list(tx.execute(select(interactions.c.verdict).order_by(interactions.c.record_id)).scalars())


def step(world: World, job: str) -> None:
    """A step of a job; where it fails, that is part of the case."""
    with suppress(KeptError):
        world.jobs[job].step()


def test_fresh_records_are_screened_from_memory_after_it_is_written_down(world: World) -> None:
    world.record(world.interaction(), world.interaction(OTHER), world.interaction(ZDR))
    assert waiting(world) == 2
    step(world, "screening")
    assert waiting(world) == 0
    assert len(world.peers.screened) == 2
    calls = [one for one in world.peers.calls if one in ("AuthorizeScreening", "Screen", "OpenRecords")]
    assert calls == ["AuthorizeScreening", "Screen"]
    assert verdicts(world) == [None] * 3  # clean: nothing is written for it twice


@pytest.mark.parametrize("down", ["AuthorizeScreening", "Screen"])
def test_a_failure_is_no_verdict_and_the_batch_is_tried_again(world: World, down: str) -> None:
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    world.record(world.interaction())
    world.peers.down = {down}
    step(world, "screening")
    assert waiting(world) == 1
    assert verdicts(world) == [None]
    world.peers.down.clear()
    step(world, "screening")
    assert (waiting(world), verdicts(world)) == (0, [2])
    assert "OpenRecords" not in world.peers.calls


def test_what_a_dead_process_left_is_opened_again_once(world: World) -> None:
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    world.record(world.interaction(text="zebracanary"), world.interaction(OTHER))
    world.start()
    step(world, "screening_backlog")
    assert waiting(world) == 2  # too young: another process may have it in memory
    world.travel(timedelta(minutes=3))
    step(world, "screening_backlog")
    step(world, "screening_backlog")
    assert (waiting(world), verdicts(world)) == (0, [2, 2])
    step(world, "screening_backlog")
    assert world.peers.calls.count("OpenRecords") == 2  # one for each organization


def test_a_full_memory_costs_time_and_no_record(world: World) -> None:
    big = "x" * (5 * 1024 * 1024)
    for _ in range(14):  # 70 MiB, more than fits
        world.record(world.interaction(text=big))
    while world.jobs["screening"].step():
        pass
    assert 0 < waiting(world) < 4
    world.travel(timedelta(minutes=3))
    while world.jobs["screening_backlog"].step():
        pass
    step(world, "screening_backlog")
    assert waiting(world) == 0
    assert len(set(world.peers.screened)) == len(world.peers.screened) == 14


@pytest.mark.parametrize("end_user", ["", "u", "\U0001f600" * 128], ids=["nobody", "somebody", "the longest"])
@pytest.mark.parametrize("content", [0, 12, 2000])
@pytest.mark.parametrize("together", [1, 500])
def test_what_waits_takes_no_more_memory_than_it_may_however_small_records_are(
    together: int, content: int, end_user: str
) -> None:
    may_take = 4 * 1024 * 1024
    unused: Any = None
    feed = ScreeningFeed(ManualClock(NOON), unused, unused, memory=may_take, patience=timedelta(minutes=1))
    has_room = True
    tracemalloc.start()
    try:
        while has_room and tracemalloc.get_traced_memory()[0] < 2 * may_take:
            # Each has strings of its own, as from the wire.
            batch = [
                Screenable(
                    (ORG.encode().decode(), os.urandom(16)), end_user.encode().decode(), os.urandom(content)
                )
                for _ in range(together)
            ]
            has_room = feed.offer(fresh(batch))
            del batch
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert may_take / 3 < taken <= may_take


def test_content_does_not_wait_long_in_memory(world: World) -> None:
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    world.peers.down = {"Screen"}
    world.record(world.interaction())
    step(world, "screening")
    world.travel(timedelta(seconds=61))
    world.peers.down.clear()
    step(world, "screening")
    assert world.peers.screened == []
    world.travel(timedelta(seconds=60))
    step(world, "screening_backlog")
    assert (waiting(world), verdicts(world)) == (0, [2])


def test_incomplete_is_tried_once_more_and_then_left_to_a_person(world: World) -> None:
    world.peers.verdict = screening_pb2.VERDICT_INCOMPLETE
    world.record(world.interaction())
    step(world, "screening")
    assert (waiting(world), verdicts(world)) == (1, [None])
    world.travel(timedelta(minutes=3))
    step(world, "screening_backlog")
    world.travel(timedelta(minutes=30))
    step(world, "screening_backlog")
    assert len(world.peers.screened) == 2
    with world.database.transaction() as tx:
        assert tx.execute(select(unscreened.c.given_up)).scalars().all() == [True]


def test_a_record_that_may_not_be_opened_costs_no_other(world: World) -> None:
    records = [world.interaction(text=str(number)) for number in range(5)]
    world.record(*records)
    world.start()
    world.travel(timedelta(minutes=3))
    world.peers.scope.record_ids.extend(
        one.record_id for one in records[1:]
    )  # the stand-in refuses the first
    step(world, "screening_backlog")
    assert sorted(world.peers.screened) == sorted(one.record_id for one in records[1:])
    with world.database.transaction() as tx:
        left = tx.execute(select(unscreened.c.organization_id, unscreened.c.given_up)).all()
    assert list(map(tuple, left)) == [(ORG, True)]


def test_what_nobody_may_open_any_more_is_left_to_a_person(world: World) -> None:
    """Opening ends 72 hours after creation: what waits longer would wait for ever, and nobody would know."""
    world.record(world.interaction())
    world.start()
    world.travel(timedelta(hours=72))
    step(world, "screening_backlog")
    assert world.peers.screened == []
    with world.database.transaction() as tx:
        assert tx.execute(select(unscreened.c.given_up)).scalars().all() == [True]


def test_a_hold_that_copies_a_record_while_it_is_screened_loses_no_verdict(world: World) -> None:
    world.peers.verdict = screening_pb2.VERDICT_FLAGGED
    record = world.interaction()
    world.record(record)
    screening = threading.Thread(target=lambda: step(world, "screening"))
    with world.database.transaction() as tx:
        stripes.take(tx, ORG)
        retention.hold(tx, "hold_" + "h" * 26, ORG, [record.record_id], None)
        screening.start()
        screening.join(1)  # the verdict has to wait: the copy is not to be seen yet
    screening.join(10)
    with world.database.transaction() as tx:
        assert tx.execute(select(retained.c.verdict)).scalars().all() == [2]

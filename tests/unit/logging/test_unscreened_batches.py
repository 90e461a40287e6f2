"""What was stored together waits to be screened in one row, and one by one as soon as anything does not go smoothly."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, text

from kept.logging.v1 import interactions_pb2
from kept.safety_review.v1 import screening_pb2
from services.logging.screening.unfolding import unfold_ahead
from services.logging.store import screening
from services.logging.store.tables import interactions, unscreened, unscreened_batches
from shared.errors import KeptError
from tests.support.meanwhile import meanwhile
from tests.unit.logging.peers import ORG, OTHER
from tests.unit.logging.world import World

CLEAN, FLAGGED, INCOMPLETE = (
    screening_pb2.VERDICT_CLEAN,
    screening_pb2.VERDICT_FLAGGED,
    screening_pb2.VERDICT_INCOMPLETE,
)


def waiting(world: World) -> tuple[list[int], list[bytes]]:
    """How many records each batch has that waits, and what waits by itself."""
    with world.database.transaction() as tx:
        batches = tx.execute(
            select(unscreened_batches.c.record_ids).order_by(unscreened_batches.c.organization_id)
        )
        single = tx.execute(select(unscreened.c.record_id).order_by(unscreened.c.record_id))
        return [len(one) // 16 for one in batches.scalars()], [one.bytes for one in single.scalars()]


def step(world: World, job: str) -> None:
    """A step of a job; where it fails, that is part of the case."""
    with suppress(KeptError):
        world.jobs[job].step()


def several(world: World, count: int = 4, organization_id: str = ORG) -> list[interactions_pb2.Interaction]:
    """Records that are stored in one transaction."""
    return [world.interaction(organization_id, text=str(number)) for number in range(count)]


def ids(records: list[interactions_pb2.Interaction]) -> list[bytes]:
    """Their ids, in order."""
    return sorted(one.record_id for one in records)


def verdicts(world: World) -> dict[bytes, int | None]:
    """What records bear, by id."""
    with world.database.transaction() as tx:
        found = tx.execute(select(interactions.c.record_id, interactions.c.verdict))
        return {one.record_id.bytes: one.verdict for one in found}


def test_a_batch_waits_in_one_row_and_is_done_with_it(world: World) -> None:
    world.record(*several(world), *several(world, 3, OTHER), world.interaction())
    world.record(world.interaction())
    assert [sorted(waiting(world)[0]), len(waiting(world)[1])] == [[3, 5], 1]
    with world.database.transaction() as tx:
        assert screening.backlog(tx, 100) == (9, world.clock.now())
        assert screening.backlog(tx, 5)[0] == 5
    step(world, "screening")
    assert waiting(world) == ([], [])
    assert len(set(world.peers.screened)) == len(world.peers.screened) == 9
    with world.database.transaction() as tx:
        assert screening.backlog(tx, 100) == (0, None)


def test_more_than_a_question_takes_waits_in_as_many_rows(world: World) -> None:
    world.record(*several(world, 1_001))
    assert (sorted(waiting(world)[0]), len(waiting(world)[1])) == ([500, 500], 1)
    for _ in range(3):
        step(world, "screening")
    assert waiting(world) == ([], [])
    assert world.peers.calls.count("Screen") == 3
    assert len(set(world.peers.screened)) == 1_001


def test_verdicts_of_a_batch_are_written_and_what_was_not_screened_waits_alone(world: World) -> None:
    records = several(world)
    world.record(*records)
    flagged, left = records[1].record_id, records[2].record_id
    world.peers.verdicts = {flagged: FLAGGED, left: INCOMPLETE}
    step(world, "screening")
    assert waiting(world) == ([], [left])
    assert {one for one, verdict in verdicts(world).items() if verdict is not None} == {flagged}
    world.peers.verdicts = {left: FLAGGED}
    world.travel(timedelta(minutes=3))
    step(world, "screening_backlog")
    assert waiting(world) == ([], [])
    assert verdicts(world)[left] == FLAGGED
    assert world.peers.screened.count(left) == 2
    assert all(world.peers.screened.count(one) == 1 for one in ids(records) if one != left)


def test_a_record_that_screening_refuses_costs_no_other_of_its_batch(world: World) -> None:
    records, theirs = several(world), several(world, 3, OTHER)
    world.record(*records, *theirs)
    world.peers.refused = {records[0].record_id}
    step(world, "screening")
    assert waiting(world) == ([], [records[0].record_id])
    assert sorted(world.peers.screened) == sorted({*ids(records), *ids(theirs)} - world.peers.refused)


@pytest.mark.parametrize("down", ["AuthorizeScreening", "Screen"])
def test_what_fails_and_passes_stays_a_batch(world: World, down: str) -> None:
    world.record(*several(world))
    world.peers.down = {down}
    step(world, "screening")
    assert waiting(world) == ([4], [])
    world.peers.down.clear()
    step(world, "screening")
    assert waiting(world) == ([], [])
    assert "OpenRecords" not in world.peers.calls


def test_what_a_dead_process_left_is_unfolded_and_screened_once(world: World) -> None:
    records = several(world)
    world.record(*records)
    world.start()
    step(world, "screening_backlog")
    assert waiting(world) == ([4], [])  # too young: another process may have it in memory
    world.travel(timedelta(minutes=3))
    world.peers.down = {"OpenRecords"}
    step(world, "screening_backlog")
    assert waiting(world) == ([], ids(records))
    world.peers.down.clear()
    step(world, "screening_backlog")
    assert waiting(world) == ([], [])
    assert sorted(world.peers.screened) == ids(records)


def test_a_verdict_that_comes_after_its_batch_was_unfolded_ends_the_waiting_of_each(world: World) -> None:
    records = several(world)
    world.record(*records)
    with world.database.transaction() as tx:
        screening.unfold(tx, ORG)
    assert waiting(world) == ([], ids(records))
    step(world, "screening")
    assert waiting(world) == ([], [])
    assert sorted(world.peers.screened) == ids(records)


def test_a_verdict_waits_for_who_unfolds_its_batch_and_ends_the_waiting_of_each(world: World) -> None:
    world.record(*several(world))
    with world.database.transaction() as tx:
        screening.unfold(tx, ORG)
        verdict = meanwhile(tx, world.database.engine, world.jobs["screening"].step)
    assert verdict.is_waiting
    verdict.result()
    assert waiting(world) == ([], [])


def test_a_batch_that_is_being_screened_is_not_unfolded_beside_it(world: World) -> None:
    world.record(*several(world))
    later = world.clock.now() + timedelta(seconds=1)
    with world.database.transaction() as tx:
        tx.execute(select(unscreened_batches).with_for_update())
        beside = meanwhile(tx, world.database.engine, lambda: unfold_ahead(world.database, ORG, later))
    assert not beside.is_waiting
    assert waiting(world) == ([4], [])


def test_what_was_removed_by_who_does_not_know_batches_is_not_left_to_a_person(world: World) -> None:
    """A process of the version before erases without looking at them."""
    gone, bare, *left = records = several(world)
    world.record(*records)
    world.start()
    with world.database.transaction() as tx:
        tx.execute(
            delete(interactions).where(interactions.c.record_id == text(f"'{gone.record_id.hex()}'::uuid"))
        )
        tx.execute(
            text(
                "UPDATE interactions SET content = NULL, data_key_id = NULL WHERE record_id = CAST(:one AS uuid)"
            ),
            {"one": bare.record_id.hex()},
        )
    world.travel(timedelta(minutes=3))
    step(world, "screening_backlog")
    assert waiting(world) == ([], [])
    assert sorted(world.peers.screened) == ids(left)


def test_what_waits_of_an_organization_is_unfolded_piece_by_piece(world: World) -> None:
    mine = [several(world, 2) for _ in range(45)]
    for records in mine:
        world.record(*records)
    world.record(*several(world, 2, OTHER))
    until = world.clock.now() + timedelta(milliseconds=1)
    world.clock.advance(timedelta(seconds=1))
    world.record(*several(world, 3))
    unfold_ahead(world.database, ORG, until)
    batches, single = waiting(world)
    assert sorted(batches) == [2, 3]
    assert single == sorted(one for records in mine for one in ids(records))


def test_the_backlog_unfolds_all_that_is_old_whatever_is_down(world: World) -> None:
    for _ in range(45):
        world.record(*several(world, 2))
    world.start()
    world.travel(timedelta(minutes=3))
    world.peers.down = {"OpenRecords"}
    assert [world.jobs["screening_backlog"].step() for _ in range(2)] == [True, True]
    step(world, "screening_backlog")
    assert (waiting(world)[0], len(waiting(world)[1])) == ([], 90)


def test_a_duplicate_in_a_batch_is_not_waited_for_again(world: World) -> None:
    first = world.interaction()
    world.record(_copied(first))
    step(world, "screening")
    rest = several(world)
    world.record(_copied(first), *map(_copied, rest))
    assert waiting(world) == ([4], [])
    step(world, "screening")
    assert waiting(world) == ([], [])
    assert sorted(world.peers.screened) == ids([first, *rest])


def _copied(record: interactions_pb2.Interaction) -> Any:
    copied = interactions_pb2.Interaction()
    copied.CopyFrom(record)
    return copied

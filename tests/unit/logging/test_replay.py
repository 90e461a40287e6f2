"""A logging database that was restored to an older state: what terms, holds and erasures of content did since is done again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import func, select

from services.logging.store import confidential
from services.logging.store import retention as store
from services.logging.store.tables import (
    confidential_rows,
    holds,
    interactions,
    removals,
    retained,
    standing_holds,
    stored_counts,
    unscreened,
)
from shared.database import Database
from shared.errors import KeptError, Reason
from tests.support.postgres import FreshDatabase, database_name
from tests.unit.logging.peers import ORG, OTHER
from tests.unit.logging.test_confidential_holds import disclose, keep
from tests.unit.logging.test_content_erasures import ask, erase, into_force, sealed, status, words
from tests.unit.logging.test_lifecycle import (
    HOLD,
    SECOND_HOLD,
    hold,
    readable,
    reason_of,
    release,
    rows,
    stored_days,
)
from tests.unit.logging.test_standing_holds import match
from tests.unit.logging.test_subjects import said
from tests.unit.logging.test_terms import RUNS, drop, dropped
from tests.unit.logging.world import World

Restore = Callable[[], None]


@pytest.fixture
def back_up(world: World, fresh_database: FreshDatabase) -> Callable[[], Restore]:
    """Takes a copy of the database now; what that gives puts it in the place of the world's, beside the same audit log."""

    def copy() -> Restore:
        world.jobs["outbox"].step()
        name = database_name(world.database.engine.url.render_as_string())
        world.database.engine.dispose()
        backup = fresh_database("backup", template=name)

        def restore() -> None:
            world.jobs["outbox"].step()
            world.database.close()
            world.database = Database(backup)
            world.start()
            world.jobs["replay"].step()
            world.jobs["outbox"].step()
            assert [one.kind for one in world.peers.audited].count("database.caught_up") == 1

        return restore

    return copy


def test_what_terms_kept_and_took_is_so_again(world: World, back_up: Callable[[], Restore]) -> None:
    kept, gone, others = world.interaction(text="kept"), world.interaction(), world.interaction(OTHER)
    world.record(kept, gone, others)
    restore = back_up()
    hold(world, HOLD, kept.record_id)
    world.peers.set_rule(ORG, days=40)
    world.travel(timedelta(days=29, hours=10))
    drop(world, RUNS[0], keep=[ORG])
    before = (stored_days(world), dropped(world), rows(world, interactions, retained, holds))
    assert before[2] == [0, 2, 1]
    restore()
    assert (stored_days(world), dropped(world), rows(world, interactions, retained, holds)) == before
    assert sorted(readable(world)) == ["hello", "kept"]  # and each took its data key along
    world.travel(timedelta(days=10))
    assert drop(world, RUNS[1]) == (2, 1)
    assert rows(world, retained, stored_counts) == [1, 0]


def test_what_a_shorter_term_took_is_gone(world: World, back_up: Callable[[], Restore]) -> None:
    world.record(world.interaction(), world.interaction(OTHER))
    restore = back_up()
    world.peers.set_rule(ORG, days=5)
    world.travel(timedelta(days=4, hours=10))
    assert drop(world, RUNS[0], only=[ORG]) == (1, 0)
    before = (stored_days(world), dropped(world))
    restore()
    assert rows(world, interactions, removals) == [1, 0]
    assert (stored_days(world), dropped(world)) == before
    assert drop(world, RUNS[0], only=[ORG]) == (1, 0)  # the run may ask again


def test_erased_content_is_gone_and_what_a_hold_on_all_keeps_is_kept(
    world: World, back_up: Callable[[], Restore]
) -> None:
    mine, other = world.interaction(text="mine"), world.interaction(text="other")
    other.end_user = "u2"
    world.record(mine, other)
    restore = back_up()
    match(world, end_user="u1")
    before = into_force(world)
    erasure = erase(world, before)
    restore()
    assert words(world) == ["mine"]
    assert (rows(world, interactions, retained, standing_holds), sealed(world)) == ([2, 1, 1], 1)
    again = erase(world, before)
    assert (again.fenced_at, dict(again.removed), again.held) == (
        erasure.fenced_at,
        dict(erasure.removed),
        1,
    )


@pytest.mark.parametrize("pieces", [0, 1, 2])
def test_a_secrecy_that_was_ending_has_ended(
    world: World, back_up: Callable[[], Restore], monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    """However far it had come, and where it is all that came since."""
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 1)
    made = [world.interaction(text=text) for text in ("one", "three", "two")]
    world.record(*made)
    keep(world, *(one.record_id for one in made))
    world.travel(timedelta(days=30))
    drop(world, RUNS[0])
    assert [disclose(world) for _ in range(pieces)] == [False] * pieces
    restore = back_up()
    while not disclose(world):
        pass
    restore()
    assert sorted(readable(world)) == ["one", "three", "two"]
    assert rows(world, confidential_rows, retained, holds) == [0, 3, 3]


@pytest.mark.parametrize("is_secret", [False, True])
def test_what_a_hold_kept_between_two_pieces_of_anothers_end_is_kept(
    world: World, back_up: Callable[[], Restore], monkeypatch: pytest.MonkeyPatch, *, is_secret: bool
) -> None:
    def place(hold_id: str) -> list[bytes]:
        asked = keep(world, *ids, hold_id=hold_id) if is_secret else hold(world, hold_id, *ids)
        return [one.record_id for one in asked.held]

    kept = confidential_rows if is_secret else retained
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 2)
    made = [world.interaction(text=str(number)) for number in range(4)]
    world.record(*made)
    ids = sorted(one.record_id for one in made)
    restore = back_up()
    place(HOLD)
    world.travel(timedelta(days=30))
    drop(world, RUNS[0])
    with monkeypatch.context() as patched:
        ends_after_a_piece(patched, confidential if is_secret else store)
        assert reason_of(lambda: release(world, HOLD)) == "DATABASE_UNAVAILABLE"
    assert place(SECOND_HOLD) == ids[2:]
    assert release(world, HOLD) == 2
    assert rows(world, kept) == [2]
    restore()
    assert rows(world, kept) == [2]
    assert place(SECOND_HOLD) == ids[2:]
    assert release(world, HOLD) == 2
    assert release(world, SECOND_HOLD) == 2
    assert rows(world, kept) == [0]


def ends_after_a_piece(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Whoever lets a hold go comes no further."""
    let_go = module.release
    pieces: list[Any] = []

    def once(*asked: Any) -> Any:
        if pieces:
            raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "The database went away.")
        pieces.append(let_go(*asked))
        return pieces[-1]

    monkeypatch.setattr(module, "release", once)


def test_what_an_older_version_let_go_is_let_go(
    world: World, back_up: Callable[[], Restore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries do not say how far a piece came."""
    monkeypatch.setattr("services.logging.lifecycle.acts._ROWS_AT_ONCE", 1)
    made = [world.interaction(), world.interaction()]
    world.record(*made)
    restore = back_up()
    hold(world, HOLD, *(one.record_id for one in made))
    world.travel(timedelta(days=30))
    drop(world, RUNS[0])
    release(world, HOLD)
    world.jobs["outbox"].step()
    told = [one for one in world.peers.audited if one.kind == "rows.released"]
    assert ["through" in one.facts for one in told] == [True, False]
    for one in told:
        one.facts.pop("through", None)
    restore()
    assert rows(world, retained, holds) == [0, 0]
    assert release(world, HOLD) == 2


@pytest.mark.parametrize("is_secret", [False, True])
@pytest.mark.parametrize("by_term", [False, True])
def test_content_that_was_gone_when_a_hold_came_stays_gone(
    world: World,
    back_up: Callable[[], Restore],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_secret: bool,
    by_term: bool,
) -> None:
    """Pieces of an erasure leave no entries; the hold's says what they had taken."""
    monkeypatch.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
    monkeypatch.setattr("services.logging.lifecycle.contents._STEPS", 1)
    made = [said(world, str(number), age=100 - number) for number in range(5)]
    world.record(*made)
    restore = back_up()
    if by_term:
        world.peers.set_rule(ORG, days=40)
        world.travel(timedelta(days=29, hours=10))
        drop(world, RUNS[0], keep=[ORG])
    before = into_force(world)
    assert not ask(world, before).done
    ids = [made[1].record_id, made[4].record_id]
    held = (keep(world, *ids) if is_secret else hold(world, HOLD, *ids)).held
    assert [bool(one.data_key_id) for one in held] == [False, True]

    def state() -> object:
        with world.database.transaction() as tx:
            tables = (interactions, retained, confidential_rows)
            filled = [tx.execute(select(func.count(table.c.content))).scalar_one() for table in tables]
        return status(world), stored_days(world), filled, rows(world, *tables, holds, unscreened)

    erase(world, before)
    was = state()
    restore()
    assert state() == was


def test_an_erasure_that_goes_on_counts_what_was_gone_when_a_hold_came(
    world: World, back_up: Callable[[], Restore], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [said(world, str(number), age=100 - number) for number in range(3)]
    world.record(*made)
    restore = back_up()
    before = into_force(world)
    with monkeypatch.context() as patched:
        patched.setattr("services.logging.lifecycle.contents._LOOKED_AT", 2)
        patched.setattr("services.logging.lifecycle.contents._STEPS", 1)
        assert not ask(world, before).done
    hold(world, HOLD, made[0].record_id)
    restore()
    erasure = erase(world, before)
    assert dict(erasure.removed) == {"contents": 3, "data_keys": 1, "unscreened": 3}
    assert erasure.held == 0

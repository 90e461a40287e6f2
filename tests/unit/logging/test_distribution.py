"""What logging does differently on Citus, as far as any PostgreSQL can carry it out: locks through an organization's rows, fences of days,
places of tables. What is Citus' own is in tests/given/distributed.py."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from services.logging.store import distribution, locks, stripes, writing
from services.logging.store.distribution import Place
from services.logging.store.tables import metadata
from shared.database import Database
from tests.support.given import is_citus
from tests.unit.logging import test_content_erasures, test_subjects
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.test_ingest import outcomes
from tests.unit.logging.test_lifecycle import drop, erase, hold, readable, reason_of, release
from tests.unit.logging.world import World

DAY = NOON.date()
HOLD = "hold_" + "h" * 26


@pytest.fixture
def on_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the tables were distributed, over one node, unless they are."""
    if not is_citus():
        monkeypatch.setattr(locks, "are_on_shards", lambda tx: True)
        monkeypatch.setattr(locks, "names_on_each_node", lambda tx: ["1", "2"])


def begins(act: Callable[[], None]) -> threading.Event:
    """Has something done in a thread; set when it is over."""
    over = threading.Event()

    def carry_out() -> None:
        act()
        over.set()

    threading.Thread(target=carry_out, daemon=True).start()
    return over


@pytest.mark.usefixtures("on_shards")
def test_who_closes_an_organization_waits_for_its_writers_and_for_no_others(database: Database) -> None:
    assert stripes.stripe_of(ORG) != stripes.stripe_of(OTHER)

    def close(organization_id: str) -> None:
        with database.transaction() as tx:
            stripes.close_organization(tx, organization_id, NOON)

    with database.transaction() as tx:
        stripes.share(tx, [ORG])
        assert begins(lambda: close(OTHER)).wait(10)
        mine = begins(lambda: close(ORG))
        assert not mine.wait(0.3)
    assert mine.wait(10)
    with database.transaction() as tx:
        assert stripes.closed(tx, [ORG, OTHER], []) == ({ORG, OTHER}, set())


@pytest.mark.usefixtures("on_shards")
def test_a_day_is_fenced_first_and_then_all_are_waited_for_who_may_not_have_seen_it(
    database: Database,
) -> None:
    def close() -> None:
        with database.transaction() as tx:
            stripes.close_day(tx, DAY, NOON)

    def wait() -> None:
        with database.transaction() as tx:
            stripes.wait_for_writers(tx)

    with database.transaction() as tx:
        stripes.share(tx, [ORG])
        assert stripes.closed(tx, [ORG], [DAY]) == (set(), set())
        close()  # does not wait
        waiting = begins(wait)
        assert not waiting.wait(0.3)
        with database.transaction() as later:  # one that comes now sees the fence
            assert stripes.closed(later, [ORG], [DAY]) == (set(), {DAY})
    assert waiting.wait(10)


@pytest.mark.usefixtures("on_shards")
def test_one_record_is_copied_as_many_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it in one statement writes in several tables at once, which no distributed engine promises to take."""
    monkeypatch.setattr(writing, "write_one", None)
    assert outcomes(world.record(world.interaction())) == ["STORED"]
    assert readable(world) == ["hello"]


@pytest.mark.usefixtures("on_shards")
def test_the_lock_of_a_name_is_one_for_all_and_held_until_the_end(database: Database) -> None:
    def take() -> None:
        with database.transaction() as tx:
            locks.take_named(tx, "hold:x")

    with database.transaction() as tx:
        locks.take_named(tx, "hold:x")
        other = begins(take)
        assert not other.wait(0.3)
    assert other.wait(10)


@pytest.mark.usefixtures("on_shards")
def test_a_records_life_is_the_same(world: World) -> None:
    kept, gone = world.interaction(text="kept"), world.interaction(OTHER)
    world.record(kept, gone)
    hold(world, HOLD, kept.record_id)
    world.travel(timedelta(days=29, hours=10))
    assert drop(world) == (2, 1)
    assert readable(world) == ["kept"]
    assert erase(world).held == 1
    assert release(world, HOLD) == 1
    assert reason_of(lambda: hold(world, HOLD, kept.record_id)) == "WRONG_STATE"


@pytest.mark.usefixtures("on_shards")
def test_rows_are_locked_of_one_organization_at_a_time(world: World) -> None:
    """Citus refuses to lock rows of several shards (citus #4647)."""
    asked: list[str] = []

    def note(*named: Any) -> None:
        if "FOR UPDATE" in named[2]:
            asked.append(named[2].partition("WHERE")[2])

    world.record(test_subjects.said(world, "one"), world.interaction())
    event.listen(world.database.engine, "before_cursor_execute", note)
    test_subjects.erase(world)
    test_subjects.forget(world)
    test_content_erasures.erase(world, test_content_erasures.into_force(world), test_subjects.SECOND)
    assert len(asked) >= 3
    assert [one for one in asked if ".organization_id = " not in one] == []


@pytest.mark.usefixtures("on_shards")
def test_usage_is_folded_of_whom_nobody_closes_and_waits_for_nobody(world: World, database: Database) -> None:
    counted = "SELECT array_agg(organization_id ORDER BY organization_id) FROM billing_usage"
    world.record(world.interaction(), world.interaction(OTHER))
    with database.transaction() as tx:
        assert stripes.try_to_fold(tx)
        assert world.jobs["usage"].step() is False
        assert tx.execute(text(counted)).scalar_one() is None
    with database.transaction() as tx:
        stripes.take(tx, ORG)
        assert world.jobs["usage"].step() is False
        assert tx.execute(text(counted)).scalar_one() == [OTHER]
    world.jobs["usage"].step()
    with database.transaction() as tx:
        assert tx.execute(text(counted)).scalar_one() == sorted([ORG, OTHER])


def test_every_table_has_its_place() -> None:
    places = {name: distribution.place_of(table) for name, table in metadata.tables.items()}
    on_coordinator = {name for name, place in places.items() if place is Place.COORDINATOR}
    assert on_coordinator == {
        "audit_position",
        "outbox",
        "analytics_keys",
        "analytics_usage",
        "analytics_cells",
        "content_dictionaries",
    }
    everywhere = {name for name, place in places.items() if place is Place.EVERYWHERE}
    assert everywhere == {"day_fences", "disclosed_holds", "dropped_days", "released_holds", "removals"}
    assert places["interactions"] is Place.SHARD


def test_what_lies_on_shards_has_no_key_that_does_not_name_the_organization(database: Database) -> None:
    # Citus refuses such a table: it could not tell a second row of the key on another shard.
    with database.transaction() as tx:
        for table in metadata.tables.values():
            if distribution.place_of(table) is Place.SHARD:
                distribution.key_by_organization(tx, table)
                without = tx.execute(
                    text(
                        "SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(:name) AND indisunique AND NOT EXISTS "
                        "(SELECT FROM pg_attribute WHERE attrelid = indrelid AND attname = 'organization_id' AND attnum = ANY(indkey))"
                    ),
                    {"name": table.name},
                ).scalar_one()
                assert without == 0, table.name


def test_a_database_without_citus_says_so(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute(
            text("CREATE TEMPORARY TABLE pg_extension (extname text)")
        )  # as a database without it has it
        tx.execute(text("SET LOCAL search_path = pg_temp, pg_catalog"))
        with pytest.raises(RuntimeError, match="no Citus"):
            distribution.distribute(tx)

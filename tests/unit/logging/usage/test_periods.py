"""Product analytics name nobody: pseudonyms that rotate, keys that are destroyed, cells of groups."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from kept.logging.v1 import usage_pb2
from services.logging.store import analytics
from services.logging.usage import periods
from services.logging.usage.fields import MINIMUM_GROUP
from shared.database import Database
from shared.errors import KeptError
from tests.unit.logging.peers import NOON, ORG, OTHER
from tests.unit.logging.test_lifecycle import erase
from tests.unit.logging.usage.seen import HOUR, billed, calls, cells, close_days, fold, rows
from tests.unit.logging.world import World

DAY = timedelta(days=1)
# How long a day goes on after its end.
OVER = timedelta(days=2)


def organizations(world: World, number: int) -> list[str]:
    """So many organizations, known to logging."""
    made = ["org_" + "abcdefghjkmnpqrstvwx"[index] * 26 for index in range(number)]
    for one in made:
        world.peers.set_organization(one)
    world.refresh()
    return made


def use(world: World, *who: str, model: str = "m-1") -> None:
    """One call of each, counted."""
    made = [world.interaction(one) for one in who]
    for one in made:
        one.model = model
    world.record(*made)
    fold(world)


def pseudonyms(world: World) -> list[tuple[str, int]]:
    return [
        (str(row[0]), int(row[1]))
        for row in rows(world, "SELECT pseudonym, sum(calls) FROM analytics_usage GROUP BY 1 ORDER BY 2, 1")
    ]


def test_within_a_day_an_organization_is_one_whatever_the_process(world: World, database: Database) -> None:
    use(world, ORG, ORG)
    use(World(database), ORG, OTHER)
    assert [number for _, number in pseudonyms(world)] == [1, 3]


def test_from_one_day_to_the_next_nothing_tells_that_it_is_the_same(world: World) -> None:
    use(world, ORG)
    world.travel(DAY)
    use(world, ORG)
    assert len(pseudonyms(world)) == 2
    assert len(rows(world, "SELECT DISTINCT key_id FROM analytics_usage")) == 2


def test_a_group_is_shown_once_its_day_is_over_and_below_it_nothing(world: World) -> None:
    group = organizations(world, MINIMUM_GROUP)
    use(world, *group, group[0], model="shared")
    use(world, *group[1:], model="almost")
    use(world, group[0], model="acme-tuned")
    close_days(world)
    assert cells(world) == []
    world.travel(OVER - timedelta(hours=12, seconds=1))
    close_days(world)
    assert cells(world) == []
    world.travel(timedelta(seconds=12))
    close_days(world)
    [cell] = cells(world)
    assert (cell.model, cell.organizations, cell.figures.calls) == (
        "shared",
        MINIMUM_GROUP,
        MINIMUM_GROUP + 1,
    )
    assert cell.hour.ToDatetime() == (NOON - HOUR).replace(tzinfo=None)
    assert cell.figures.prompt_tokens == 3 * (MINIMUM_GROUP + 1)
    assert sum(cell.figures.durations) == cell.figures.calls
    # What is below is kept nowhere: no pseudonym, no model that names a customer, no key.
    for table in ("analytics_usage", "analytics_keys"):
        assert rows(world, f"SELECT * FROM {table}") == []
    assert rows(world, "SELECT model FROM analytics_cells") == [("shared",)]
    assert calls(billed(world, group[0])) == 3


def test_a_process_whose_clock_is_wrong_ends_no_day(world: World) -> None:
    use(world, *organizations(world, MINIMUM_GROUP))
    before = pseudonyms(world)
    assert not world.jobs_of_a_wrong_clock(OVER)["usage_periods"].step()
    assert (cells(world), len(_keys(world)), pseudonyms(world)) == ([], 1, before)


def test_the_group_is_asked_for_again_when_cells_are_read(world: World) -> None:
    """Cells that were made when smaller groups were enough."""
    use(world, ORG)
    world.travel(OVER)
    with world.database.transaction() as tx:
        hour = analytics.oldest_hour(tx, NOON)
        assert hour is not None
        analytics.fold(tx, hour, 1)
    assert rows(world, "SELECT organizations FROM analytics_cells") == [(1,)]
    assert cells(world) == []


def test_a_key_of_a_day_that_is_over_is_never_made_again(world: World) -> None:
    use(world, ORG)
    world.travel(3 * DAY)
    close_days(world)
    kept = periods.Periods(world.database)
    with world.database.transaction() as tx:
        assert kept.keys(tx, {NOON.date()}, world.clock.now()) == {}
    assert rows(world, "SELECT * FROM analytics_keys") == []


def test_the_key_of_a_day_that_goes_on_stays_where_another_is_destroyed(world: World) -> None:
    use(world, ORG)
    world.travel(2 * DAY)
    use(world, ORG)
    before = pseudonyms(world)
    close_days(world)
    assert [row[0] for row in rows(world, "SELECT day FROM analytics_keys")] == [date(2026, 3, 12)]
    world.start()
    use(world, ORG)
    [(today, number)] = pseudonyms(world)
    assert number == 2
    assert today in {one for one, _ in before}


def test_keys_are_in_no_log_and_no_backup(world: World) -> None:
    found = rows(world, "SELECT relname, relpersistence::text FROM pg_class WHERE relname LIKE 'analytics%s'")
    assert dict(found)["analytics_keys"] == "u"
    assert dict(found)["analytics_cells"] == "p"


def test_a_crash_that_takes_a_key_makes_no_group_of_fewer(world: World) -> None:
    """Six organizations under two keys are twelve pseudonyms, and no group of ten."""
    group = organizations(world, 6)
    use(world, *group)
    with world.database.transaction() as tx:
        tx.exec_driver_sql("TRUNCATE analytics_keys")  # as recovery does with what is unlogged
    world.start()
    use(world, *group)
    assert len(pseudonyms(world)) == 12
    world.travel(3 * DAY)
    close_days(world)
    assert rows(world, "SELECT * FROM analytics_cells") == []


def _wait_for_a_waiter(database: Database) -> None:
    """Until some transaction waits for another."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with database.engine.connect() as observer:
        for _ in range(10_000):
            if observer.execute(waits).scalar_one():
                return
            observer.rollback()
    raise AssertionError("nobody waited")


def test_processes_that_make_a_days_key_at_once_make_one(world: World, database: Database) -> None:
    one, two = (periods.Periods(database) for _ in range(2))
    found: list[object] = []

    def ask() -> None:
        with database.transaction() as tx:
            found.append(two.keys(tx, {NOON.date()}, world.clock.now()))

    with database.transaction() as tx:
        first = one.keys(tx, {NOON.date()}, world.clock.now())
        other = threading.Thread(target=ask)
        other.start()
        _wait_for_a_waiter(database)
    other.join(20)
    assert found == [first]


def test_a_key_that_was_rolled_back_is_remembered_by_nobody(world: World, database: Database) -> None:
    class Undone(Exception):
        pass

    one, two = (periods.Periods(database) for _ in range(2))
    with pytest.raises(Undone), database.transaction() as tx:
        lost = one.keys(tx, {NOON.date()}, world.clock.now())
        raise Undone
    with database.transaction() as tx:
        assert two.keys(tx, {NOON.date()}, world.clock.now()) != lost
    with database.transaction() as tx:
        assert one.keys(tx, {NOON.date()}, world.clock.now()) == two.keys(
            tx, {NOON.date()}, world.clock.now()
        )


def test_processes_that_end_a_day_at_once_count_it_once(world: World, database: Database) -> None:
    group = organizations(world, MINIMUM_GROUP)
    use(world, *group)
    world.travel(timedelta(hours=2))
    use(world, *group)
    world.travel(3 * DAY)
    failed: list[BaseException] = []
    start = threading.Barrier(4)

    def close(one: periods.Periods) -> None:
        start.wait()
        try:
            while one.close(world.clock.now()):
                pass
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=close, args=(periods.Periods(database),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []
    assert [one.figures.calls for one in cells(world)] == [MINIMUM_GROUP] * 2
    assert rows(world, "SELECT * FROM analytics_keys") == []


def test_who_counts_does_not_wait_long_for_keys_that_go(world: World, database: Database) -> None:
    """A reader that is slow keeps the job from its lock; the job lets go of its place in the queue."""
    use(world, ORG)
    world.travel(3 * DAY)
    with database.transaction() as slow:
        slow.exec_driver_sql("SELECT * FROM analytics_keys")
        with pytest.raises(KeptError) as waited:
            world.jobs["usage_periods"].step()
        assert waited.value.name == "DATABASE_UNAVAILABLE"
        world.refresh()
        use(world, ORG)
    close_days(world)
    assert len(rows(world, "SELECT * FROM analytics_keys")) == 1


def test_erasure_takes_billing_and_leaves_no_way_back_to_analytics(world: World) -> None:
    use(world, ORG, ORG, OTHER)
    before = pseudonyms(world)
    [(_, key)] = [(key_id, periods.PeriodKey(key_id, key)) for key_id, key in _keys(world)]
    assert key.pseudonym(ORG).hex in {one.replace("-", "") for one, _ in before}
    receipt = erase(world)
    assert receipt.removed["billing_usage"] == 1
    assert (receipt.removed["usage_reports"], receipt.removed["usage_arrivals"]) == (0, 0)
    assert billed(world) == []
    assert calls(billed(world, OTHER)) == 1
    after = pseudonyms(world)
    assert [number for _, number in after] == [1, 2]
    assert key.pseudonym(ORG).hex not in {one.replace("-", "") for one, _ in after}
    assert erase(world) == receipt
    use(world, ORG)
    assert billed(world) == []
    assert pseudonyms(world) == after


def _crash(world: World) -> None:
    """What recovery of the database does with what is unlogged."""
    with world.database.transaction() as tx:
        tx.exec_driver_sql("TRUNCATE analytics_keys")


def test_erasure_leaves_no_way_back_by_a_key_that_a_crash_took(world: World) -> None:
    """The process that counted still remembers it."""
    use(world, ORG, OTHER)
    before = {one for one, _ in pseudonyms(world)}
    [(key_id, key)] = _keys(world)
    _crash(world)
    erase(world)
    after = {one for one, _ in pseudonyms(world)}
    assert before - after == {str(periods.PeriodKey(key_id, key).pseudonym(ORG))}
    assert len(after) == 2


def test_nothing_is_counted_under_a_key_that_a_crash_took(world: World) -> None:
    use(world, ORG)
    [(lost, _)] = _keys(world)
    _crash(world)
    use(world, ORG)
    [(key_id, key)] = _keys(world)
    assert key_id != lost
    assert len(pseudonyms(world)) == 2
    assert str(periods.PeriodKey(key_id, key).pseudonym(ORG)) in {one for one, _ in pseudonyms(world)}


def test_a_process_that_counts_nothing_forgets_a_key_that_a_crash_took(
    world: World, database: Database
) -> None:
    """It knows none by which it could tell whose a pseudonym is."""
    idle = periods.Periods(database)
    use(world, ORG)
    with database.transaction() as tx:
        idle.keys(tx, {NOON.date()}, world.clock.now())
    before = pseudonyms(world)
    _crash(world)
    idle.close(world.clock.now())
    with database.transaction() as tx:
        idle.forget_organization(tx, ORG)
    assert pseudonyms(world) == before


def _keys(world: World) -> list[tuple[UUID, bytes]]:
    with world.database.transaction() as tx:
        return list(analytics.keys(tx))


def test_analytics_pages_go_through_all(world: World) -> None:
    group = organizations(world, MINIMUM_GROUP)
    for model in ("b", "a", "c"):
        use(world, *group, model=model)
    world.travel(HOUR)
    use(world, *group, model="a")
    world.travel(3 * DAY)
    close_days(world)
    found = [(one.hour.ToDatetime().hour, one.model) for one in cells(world, page_size=2)]
    assert found == [(11, "a"), (11, "b"), (11, "c"), (12, "a")]
    assert cells(world) == cells(world, page_size=1)
    assert [one.model for one in cells(world, model="b")] == ["b"]


def test_analytics_of_more_than_a_month_are_refused(world: World) -> None:
    asked = usage_pb2.QueryAnalyticsRequest()
    asked.from_hour.FromDatetime(NOON)
    asked.until_hour.FromDatetime(NOON + timedelta(days=31, hours=1))
    with pytest.raises(KeptError) as refused:
        world.usage().QueryAnalytics(asked)
    assert refused.value.name == "INVALID_ARGUMENT"

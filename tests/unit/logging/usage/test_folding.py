"""What was stored is counted a moment later: exactly once, whatever crashes, whoever else is at it, whatever is erased meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from services.logging.store import arrivals, stripes
from services.logging.usage import folding
from shared.database import Database
from tests.unit.logging.otlp.exports import event, export_events
from tests.unit.logging.peers import NOON, ORG, OTHER, ZDR
from tests.unit.logging.test_ingest import outcomes
from tests.unit.logging.test_lifecycle import erase
from tests.unit.logging.usage.seen import billed, calls, fold, rows
from tests.unit.logging.world import World

NASTY = "a\u2028é|\"'%;{}\\,NULL"


class Killed(BaseException):
    """The process is gone."""


def use(world: World, *organizations: str, **names: str) -> None:
    """One call of each, in one batch."""
    made = [world.interaction(one) for one in organizations]
    for one in made:
        one.application = names.get("application", "assistant")
        one.model = names.get("model", "m-1")
    world.record(*made)


def waiting(world: World) -> dict[str, int]:
    """Calls that are not counted yet, by organization."""
    asked = "SELECT organization_id, sum(figures[1])::int FROM usage_arrivals GROUP BY 1"
    return {str(organization_id): int(number) for organization_id, number in rows(world, asked)}


def counted(world: World) -> tuple[dict[str, int], int]:
    """Calls in billing by organization, and all in analytics."""
    asked = "SELECT organization_id, sum(calls)::int FROM billing_usage GROUP BY 1"
    [(in_analytics,)] = rows(world, "SELECT coalesce(sum(calls), 0)::int FROM analytics_usage")
    return {str(organization_id): int(number) for organization_id, number in rows(world, asked)}, in_analytics


def begins(act: Callable[[], object]) -> threading.Event:
    """Has something done in a thread; set when it is over."""
    over = threading.Event()

    def carry_out() -> None:
        act()
        over.set()

    threading.Thread(target=carry_out, daemon=True).start()
    return over


def test_a_batch_leaves_one_row_a_place_and_a_repetition_none(world: World) -> None:
    made = [world.interaction(one) for one in (ORG, ORG, OTHER, ZDR)]
    made[1].model = "m-2"
    for batch in (made, made, made[:1]):
        world.record(*batch)
    export_events(world, event("gen_ai.user.message", {"content": "hello"}))  # records and no calls
    assert waiting(world) == {ORG: 2, OTHER: 1, ZDR: 1}
    assert rows(world, "SELECT count(*) FROM usage_arrivals") == [(4,)]
    assert counted(world) == ({}, 0)
    fold(world)
    assert waiting(world) == {}
    assert counted(world) == ({ORG: 2, OTHER: 1, ZDR: 1}, 4)
    fold(world)
    assert counted(world) == ({ORG: 2, OTHER: 1, ZDR: 1}, 4)


def test_one_by_one_and_as_a_batch_the_figures_are_the_same(world: World) -> None:
    for organization_id, size in ((ORG, 1), (OTHER, 6)):
        made = [world.interaction(organization_id) for _ in range(6)]
        for number, one in enumerate(made):
            one.application, one.model = (NASTY, f"m-{number % 2}") if number % 3 else ("", NASTY)
            one.prompt_tokens, one.latency.seconds = number, 7 * number
            one.content.generations.add().parts.add(data=b"{}", kind="tool_call")
        for start in range(0, 6, size):
            world.record(*made[start : start + size])
    one_by_one = billed(world)
    assert len(one_by_one) == 3
    assert one_by_one == billed(world, OTHER)
    assert sum(one.figures.prompt_tokens for one in one_by_one) == 15
    assert sum(one.figures.features.tool_calls for one in one_by_one) == 6


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_the_commit_loses_and_doubles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    use(world, ORG, ORG, OTHER)

    def die(when: str) -> None:
        if when == moment:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "_on_commit", die)
        with pytest.raises(Killed):
            fold(world)
    # Taken out and added, or neither.
    assert (waiting(world) == {}) == (counted(world)[1] == 3) == (moment == "after")
    world.start()
    use(world, ORG)
    fold(world)
    assert (waiting(world), counted(world)) == ({}, ({ORG: 3, OTHER: 1}, 4))


def test_a_crash_between_taking_out_and_adding_undoes_both(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(world, ORG)

    def die(*_: object) -> None:
        assert waiting(world) == {ORG: 1}, "nobody else sees that it was taken out"
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("services.logging.store.analytics.add", die)
        with pytest.raises(Killed):
            fold(world)
    assert (waiting(world), counted(world)) == ({ORG: 1}, ({}, 0))
    fold(world)
    assert counted(world) == ({ORG: 1}, 1)


def test_one_process_folds_at_a_time_and_the_other_does_not_wait(world: World, database: Database) -> None:
    use(world, ORG)
    with database.transaction() as tx:
        assert stripes.try_to_fold(tx)
        assert world.jobs["usage"].step() is False
        assert waiting(world) == {ORG: 1}
    fold(world)
    assert counted(world) == ({ORG: 1}, 1)


def test_processes_that_fold_while_others_store_count_all_of_it(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "AT_ONCE", 3)
    failed: list[BaseException] = []
    processes, storing = [world, World(database)], threading.Barrier(3)
    is_over = threading.Event()

    def carry_out(act: Callable[[World], None], one: World) -> None:
        try:
            act(one)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    def store(one: World) -> None:
        storing.wait()
        for number in range(10):
            use(one, *([ORG, OTHER, ZDR][: number % 3 + 1]))

    def count(one: World) -> None:
        while not is_over.is_set():
            one.jobs["usage"].step()

    stores = [threading.Thread(target=carry_out, args=(store, one)) for one in processes]
    counts = [threading.Thread(target=carry_out, args=(count, one)) for one in processes]
    for thread in stores + counts:
        thread.start()
    storing.wait()
    for thread in stores:
        thread.join(20)
    is_over.set()
    for thread in counts:
        thread.join(20)
    fold(world)
    assert failed == []
    assert (waiting(world), counted(world)) == ({}, ({ORG: 20, OTHER: 12, ZDR: 6}, 38))


def test_what_is_erased_between_storing_and_folding_is_counted_nowhere(world: World) -> None:
    use(world, ORG, ORG, OTHER)
    receipt = erase(world)
    assert (receipt.removed["usage_arrivals"], receipt.removed["billing_usage"]) == (1, 0)
    assert erase(world) == receipt
    assert waiting(world) == {OTHER: 1}
    fold(world)
    assert counted(world) == ({OTHER: 1}, 1)


def test_behind_an_erasure_nothing_is_stored_to_be_folded(world: World) -> None:
    assert erase(world).removed["usage_arrivals"] == 0
    assert outcomes(world.record(world.interaction(), world.interaction(OTHER)))[0] == "CLOSED"
    assert outcomes(world.record(world.interaction())) == ["CLOSED"]
    assert waiting(world) == {OTHER: 1}


def test_an_erasure_that_goes_on_is_not_waited_for(world: World, database: Database) -> None:
    assert stripes.stripe_of(ORG) != stripes.stripe_of(OTHER)
    use(world, ORG, OTHER)
    with database.transaction() as tx:
        stripes.close_organization(tx, ORG, NOON)
        assert arrivals.erase(tx, ORG) == 1
        assert world.jobs["usage"].step() is False
        assert counted(world) == ({OTHER: 1}, 1)
    fold(world)
    assert (waiting(world), counted(world)) == ({}, ({OTHER: 1}, 1))


def test_an_erasure_waits_for_what_is_being_folded_and_takes_it(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(world, ORG, OTHER)
    other = World(Database(database.engine.url.render_as_string(hide_password=False), pool=2))
    started: list[threading.Event] = []

    def erase_meanwhile(when: str) -> None:
        if when == "before" and not started:
            started.append(begins(lambda: erase(other)))
            assert not started[0].wait(0.3)

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "_on_commit", erase_meanwhile)
        world.jobs["usage"].step()
    assert started[0].wait(10)
    other.database.close()
    assert rows(
        world, "SELECT removed->'usage_arrivals', removed->'billing_usage' FROM erasure_receipts"
    ) == [(0, 1)]
    assert (waiting(world), counted(world)[0]) == ({}, {OTHER: 1})


def test_what_an_older_versions_erasure_left_is_taken_out_and_counted_nowhere(world: World) -> None:
    use(world, ORG, OTHER)
    with world.database.transaction() as tx:
        stripes.close_organization(tx, ORG, NOON)  # it knows nothing of this table
    fold(world)
    assert (waiting(world), counted(world)) == ({}, ({OTHER: 1}, 1))


def test_a_step_is_bounded_and_asks_for_another_only_where_that_gets_on(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "AT_ONCE", 2)
    for _ in range(5):
        use(world, ORG)
    assert [world.jobs["usage"].step() for _ in range(3)] == [True, True, False]
    assert counted(world) == ({ORG: 5}, 5)
    for _ in range(2):
        use(world, ORG)
    with database.transaction() as tx:
        stripes.take(tx, ORG)
        assert world.jobs["usage"].step() is False, "it would turn in circles"
    fold(world)
    assert counted(world) == ({ORG: 7}, 7)


def test_what_is_folded_after_its_day_is_over_is_billed_and_in_no_analytics(world: World) -> None:
    use(world, ORG)
    world.travel(timedelta(days=3))
    fold(world)
    assert counted(world) == ({ORG: 1}, 0)
    assert rows(world, "SELECT * FROM analytics_keys") == []
    assert calls(billed(world)) == 1


def test_a_process_whose_clock_is_wrong_leaves_what_waits_to_others(world: World) -> None:
    """By its clock the day is over, and what is of it would be in no analytics."""
    use(world, ORG)
    assert not world.jobs_of_a_wrong_clock(timedelta(days=2))["usage"].step()
    assert counted(world) == ({}, 0)
    fold(world)
    assert counted(world) == ({ORG: 1}, 1)

"""Each record counts once, whatever is retried, in whatever process; what is not stored does not count."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from kept.logging.v1 import interactions_pb2, usage_pb2
from services.logging.records import row_of
from services.logging.store import billing
from services.logging.usage.counting import MOST_NAMES, OTHER, cells_of
from services.logging.usage.fields import CALLS, DURATIONS, FIRST_DURATION, FIRST_FEATURE
from shared.database import Database
from shared.errors import KeptError, Reason
from tests.unit.logging.otlp.exports import chat, event, export, export_events, span
from tests.unit.logging.peers import NOON, ORG, PRIVATE, ZDR
from tests.unit.logging.peers import OTHER as OTHER_ORG
from tests.unit.logging.test_ingest import outcomes, whole_database
from tests.unit.logging.usage.seen import billed, calls, fold, rows
from tests.unit.logging.world import World

MARKER = "zebracanary"
NO_CALLS = (
    "invoke_agent",
    "create_agent",
    "invoke_workflow",
    "execute_tool",
    "plan",
    "retrieval",
    "fetch_response",
    "search_memory",
    "create_memory",
    "update_memory",
    "upsert_memory",
    "delete_memory",
    "create_memory_store",
    "delete_memory_store",
)


def interaction(world: World, organization_id: str = ORG, **age: timedelta) -> interactions_pb2.Interaction:
    """One whose figures are known."""
    made = world.interaction(organization_id, MARKER, **age)
    made.generation_tokens = 5
    made.latency.FromMilliseconds(730)
    made.content.generations.add().parts.add(data=b"{}", kind="tool_call", media_type="application/json")
    return made


def test_a_record_counts_once_whatever_is_retried(world: World, database: Database) -> None:
    one, two = interaction(world), interaction(world)
    world.record(one, one, two)
    world.record(one, two)
    other = World(database)  # another process
    other.record(interaction(world), one)
    [counts] = billed(world)
    assert counts.hour.ToDatetime() == (NOON - timedelta(hours=1)).replace(tzinfo=None)
    assert (counts.application, counts.model) == ("assistant", "m-1")
    expected = usage_pb2.UsageFigures(
        calls=3, prompt_tokens=9, generation_tokens=15, duration_milliseconds=3 * 730
    )
    expected.durations.extend([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0])
    expected.features.tool_calls = expected.features.end_users = 3
    assert counts.figures == expected


def test_zero_data_retention_counts_the_same_and_leaves_no_content(world: World) -> None:
    assert outcomes(world.record(interaction(world, ZDR), interaction(world))) == [
        "STORED_WITHOUT_CONTENT",
        "STORED",
    ]
    [with_content], [without] = billed(world), billed(world, ZDR)
    assert without == with_content
    assert without.figures.features.tool_calls == 1
    assert MARKER not in whole_database(world)


def test_what_is_refused_does_not_count(world: World) -> None:
    bad = interaction(world)
    bad.model = "two\nlines"
    late = interaction(world, age=timedelta(hours=25))
    world.record(bad, late, interaction(world, PRIVATE), interaction(world, "org_" + "q" * 26))
    assert rows(world, "SELECT * FROM usage_arrivals") == []


def test_what_is_rolled_back_does_not_count_and_its_retry_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = interaction(world)

    def fail(when: str) -> None:
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, "the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "_on_commit", fail)
        for batch in ([one], [one, interaction(world)]):
            with pytest.raises(KeptError):
                world.record(*batch)
    assert rows(world, "SELECT * FROM usage_arrivals") == []
    assert billed(world) == []
    assert outcomes(world.record(one)) == ["STORED"]
    assert calls(billed(world)) == 1
    assert rows(world, "SELECT sum(calls) FROM analytics_usage") == [(1,)]


def test_a_call_belongs_to_its_hour_and_a_late_one_to_its_own(world: World) -> None:
    world.record(interaction(world), interaction(world, age=timedelta(hours=23)))
    assert [one.hour.ToDatetime().hour for one in billed(world)] == [13, 11]


def test_usage_is_counted_on_spans_only(world: World) -> None:
    export(world, chat(1))
    export_events(world, event("gen_ai.user.message", {"content": "hello"}))
    assert rows(world, "SELECT count(*) FROM interactions") == [(2,)]
    export(world, chat(1))
    assert calls(billed(world)) == 1


def test_processes_that_count_the_same_at_once_count_all_of_it(world: World, database: Database) -> None:
    """Batches that name the same organizations in opposite orders, in two processes with two threads each."""
    processes = [world, World(database)]
    failed: list[BaseException] = []

    def write(process: World, turn: int) -> None:
        organizations = [ORG, OTHER_ORG, ZDR]
        try:
            for number in range(6):
                batch = [interaction(process, one) for one in organizations[:: 1 if turn else -1]]
                batch[0].model = f"m-{number % 2}"
                assert set(outcomes(process.record(*batch))) <= {"STORED", "STORED_WITHOUT_CONTENT"}
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=write, args=(one, turn)) for one in processes for turn in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [calls(billed(world, one)) for one in (ORG, OTHER_ORG, ZDR)] == [24, 24, 24]
    assert rows(world, "SELECT sum(calls) FROM analytics_usage") == [(72,)]


def test_a_process_does_not_wait_for_another_one_that_has_counted_the_same(
    world: World, database: Database
) -> None:
    """Rows of its own: another process's transaction that is not committed yet is in nobody's way."""
    place = (ORG, 0, "a", "m")
    figures = [1] * (FIRST_FEATURE + 12)
    with database.transaction() as held:
        billing.add(held, [(place, figures)], "writer_one")
        with database.transaction() as tx:
            tx.execute(text("SET LOCAL lock_timeout = '50ms'"))
            billing.add(tx, [(place, figures)], "writer_two")
    assert rows(world, "SELECT sum(calls) FROM billing_usage") == [(2,)]


def test_no_name_joins_the_two_stores(world: World) -> None:
    world.record(interaction(world))
    fold(world)
    writers = rows(world, "SELECT writer FROM billing_usage UNION SELECT writer FROM analytics_usage")
    assert len(writers) == 2
    [named] = rows(world, "SELECT t::text FROM analytics_usage t")
    assert ORG not in named[0]
    assert "assistant" not in named[0]


@pytest.mark.parametrize("alone", [True, False], ids=["one record", "a batch"])
def test_what_happens_around_calls_is_no_call(world: World, alone: bool) -> None:
    around = [
        span(number, {"gen_ai.operation.name": name, "gen_ai.prompt": "x", "gen_ai.request.model": "m"})
        for number, name in enumerate(NO_CALLS, start=2)
    ]
    around.append(span(100, {"gen_ai.operation.name": "a name to come", "gen_ai.prompt": "x"}))
    for batch in [[one] for one in [chat(1), *around]] if alone else [[chat(1), *around]]:
        assert export(world, *batch) == (0, "")
    assert calls(billed(world)) == 1
    assert rows(world, "SELECT count(*) FROM interactions") == [(2 + len(NO_CALLS),)]


def test_who_makes_up_names_makes_no_more_rows_than_others(world: World) -> None:
    made = [interaction(world) for _ in range(MOST_NAMES + 3)]
    for number, one in enumerate(made):
        one.application = f"app-{number}"
    stored = [row_of(one, received_at=NOON, gateway="edge") for one in made]
    cells = cells_of(stored)
    assert len(cells) == MOST_NAMES + 1
    assert [figures[CALLS] for place, figures in cells.items() if place[2:] == (OTHER, OTHER)] == [3]


@given(st.lists(st.one_of(st.none(), st.integers(0, 86_400_000)), min_size=1, max_size=20))
def test_durations_fall_into_one_bucket_each(took: list[int | None]) -> None:
    made = interactions_pb2.Interaction(record_id=bytes(16), organization_id=ORG)
    stored = []
    for milliseconds in took:
        made.ClearField("latency")
        if milliseconds is not None:
            made.latency.FromMilliseconds(milliseconds)
        stored.append(row_of(made, received_at=NOON, gateway="edge"))
    [figures] = cells_of(stored).values()
    histogram = figures[FIRST_DURATION:FIRST_FEATURE]
    assert sum(histogram) == figures[CALLS] == len(took)
    known = [one for one in took if one is not None]
    assert histogram[-1] == len(took) - len(known)
    for limit, through in ((100, 1), (1000, 4), (64_000, 10)):
        assert sum(histogram[:through]) == sum(one < limit for one in known)
    assert len(histogram) == len(DURATIONS)

"""Counts of deployments that send nothing else: only what is agreed, once, and nothing about whom it is refused for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from kept.logging.v1 import ingest_pb2
from kept.settings.v1 import organizations_pb2
from services.logging.store import analytics, figures
from services.logging.usage.fields import MINIMUM_GROUP
from services.logging.usage.reports import REPORT_WINDOW
from shared.database import Database
from shared.errors import KeptError
from tests.unit.logging.peers import NOON, ORG, OTHER, PRIVATE
from tests.unit.logging.test_ingest import whole_database
from tests.unit.logging.test_lifecycle import erase
from tests.unit.logging.usage.seen import HOUR, billed, calls, cells, close_days, rows
from tests.unit.logging.world import World

THIRD_PARTY = organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD
ON_PREMISES = organizations_pb2.DEPLOYMENT_PRIVATE
CLOUD = "org_" + "c" * 26


@pytest.fixture(autouse=True)
def agreed(world: World) -> None:
    """Two deployments whose agreements say that usage may be sent."""
    world.peers.set_organization(
        PRIVATE, deployment=ON_PREMISES, usage_agreed=True, at=NOON - timedelta(days=1)
    )
    world.peers.set_organization(CLOUD, deployment=THIRD_PARTY, usage_agreed=True)
    world.refresh()


def report(
    request_id: str = "report-0001", organization_id: str = PRIVATE, number: int = 5, **age: timedelta
) -> ingest_pb2.ReportUsageRequest:
    """A report of one hour."""
    made = ingest_pb2.ReportUsageRequest(request_id=request_id, organization_id=organization_id)
    counts = made.counts.add(application="desk", model="m-1")
    counts.hour.FromDatetime(NOON - age.get("age", HOUR))
    counts.figures.calls = number
    counts.figures.prompt_tokens = 10 * number
    counts.figures.features.images = 1
    return made


def send(world: World, request: ingest_pb2.ReportUsageRequest) -> bool:
    """Whether it had been counted before."""
    return bool(world.ingest.ReportUsage(request).duplicate)


def refusal(act: Callable[[], Any]) -> KeptError:
    with pytest.raises(KeptError) as refused:
        act()
    return refused.value


def test_agreed_counts_are_taken_once_whatever_the_process(world: World, database: Database) -> None:
    assert send(world, report()) is False
    assert send(world, report()) is True
    other = World(database)
    other.peers = world.peers
    other.start()
    assert send(other, report()) is True
    [counts] = billed(world, PRIVATE)
    assert (counts.application, counts.model, counts.figures.calls) == ("desk", "m-1", 5)
    assert counts.figures.durations[-1] == 5
    assert counts.figures.features.images == 1
    assert rows(world, "SELECT sum(calls) FROM analytics_usage") == [(5,)]
    assert send(world, report("report-0002")) is False
    assert send(world, report("report-0001", CLOUD)) is False  # ids are an organization's own
    assert (calls(billed(world, PRIVATE)), calls(billed(world, CLOUD))) == (10, 5)
    assert rows(world, "SELECT count(*) FROM interactions") == [(0,)]


def test_the_same_report_in_two_processes_at_once_counts_once(world: World, database: Database) -> None:
    processes = [world, World(database)]
    processes[1].peers = world.peers
    processes[1].start()
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda one=one: answers.append(send(one, report())))
        for one in processes
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] + [True] * 5
    assert calls(billed(world, PRIVATE)) == 5


def test_another_content_under_the_same_id_is_refused_and_adds_nothing(world: World) -> None:
    send(world, report())
    assert refusal(lambda: send(world, report(number=6))).name == "REQUEST_ID_REUSED"
    assert calls(billed(world, PRIVATE)) == 5


def _no_agreement(world: World) -> str:
    world.peers.set_organization(PRIVATE, deployment=ON_PREMISES, at=NOON - HOUR)
    return PRIVATE


def _about_to_end(world: World) -> str:
    """Within the clocks' tolerance another process may be past it."""
    world.peers.set_organization(PRIVATE, deployment=ON_PREMISES, at=NOON + timedelta(seconds=4))
    return PRIVATE


def _closed(world: World) -> str:
    world.peers.set_organization(
        PRIVATE, deployment=ON_PREMISES, usage_agreed=True, closed=True, at=NOON - HOUR
    )
    return PRIVATE


def _not_the_gateways(world: World) -> str:
    world.peers.set_gateway("edge", everywhere=False, organization_ids=[ORG], at=NOON - HOUR)
    return PRIVATE


def _not_the_gateways_and_unknown(world: World) -> str:
    _not_the_gateways(world)
    return "org_" + "q" * 26


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (_no_agreement, "USAGE_NOT_AGREED"),
        (_about_to_end, "USAGE_NOT_AGREED"),
        (_closed, "CLOSED"),
        (_not_the_gateways, "GATEWAY_NOT_REGISTERED"),
        (_not_the_gateways_and_unknown, "GATEWAY_NOT_REGISTERED"),
        (lambda _: "org_" + "q" * 26, "UNKNOWN_ORGANIZATION"),
        (lambda _: ORG, "USAGE_COUNTED_FROM_RECORDS"),
        (lambda _: "org'; --", "INVALID_ARGUMENT"),
    ],
)
def test_what_is_not_agreed_is_refused_by_name_and_says_nothing_of_whom(
    world: World, arrange: Callable[[World], str], reason: str
) -> None:
    organization_id = arrange(world)
    world.refresh()
    with structlog.testing.capture_logs() as logs:
        error = refusal(lambda: send(world, report(organization_id=organization_id)))
    assert error.name == reason
    assert organization_id not in str(logs) + error.text + str(error.metadata) + whole_database(world)
    assert rows(world, "SELECT * FROM billing_usage") == rows(world, "SELECT * FROM analytics_usage") == []


def test_without_a_lease_nothing_is_guessed(world: World) -> None:
    world.clock.advance(timedelta(seconds=3))
    assert refusal(lambda: send(world, report())).name == "LEASE_LAPSED"


def _durations(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.durations.extend([1] * 12)


def _short(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.durations.extend([5])


def _feature(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.features.audio = 6


def _no_calls(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.calls = 0


def _too_many(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.prompt_tokens = 10**13


def _too_long(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.duration_milliseconds = 5 * 86_400_000 + 1


def _negative(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].figures.features.images = -1


def _half_past(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].hour.FromDatetime(NOON - HOUR / 2)


def _ahead(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].hour.FromDatetime(NOON + HOUR)


def _old(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].hour.FromDatetime(NOON - REPORT_WINDOW - HOUR)


def _ages_ago(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].hour.seconds = -(10**11)


def _two_lines(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].model = "two\nlines"


def _no_figures(request: ingest_pb2.ReportUsageRequest) -> None:
    request.counts[0].ClearField("figures")


def _nothing(request: ingest_pb2.ReportUsageRequest) -> None:
    del request.counts[:]


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (_durations, "counts[0].figures.durations"),
        (_short, "counts[0].figures.durations"),
        (_feature, "counts[0].figures.features.audio"),
        (_no_calls, "counts[0].figures.calls"),
        (_too_many, "counts[0].figures.prompt_tokens"),
        (_too_long, "counts[0].figures.duration_milliseconds"),
        (_negative, "counts[0].figures.features.images"),
        (_half_past, "counts[0].hour"),
        (_ahead, "counts[0].hour"),
        (_old, "counts[0].hour"),
        (_ages_ago, "counts[0].hour"),
        (_two_lines, "counts[0].model"),
        (_no_figures, "counts[0].figures"),
        (_nothing, "counts"),
    ],
)
def test_counts_that_cannot_be_are_refused_with_their_field(
    world: World, spoil: Callable[[ingest_pb2.ReportUsageRequest], None], field: str
) -> None:
    spoiled = report()
    spoil(spoiled)
    error = refusal(lambda: send(world, spoiled))
    assert (error.name, [name for name, _ in error.fields]) == ("INVALID_ARGUMENT", [field])
    assert rows(world, "SELECT * FROM usage_reports") == []
    assert send(world, report()) is False  # the id is not used up


def test_a_day_for_each_call_is_taken(world: World) -> None:
    longest = report()
    longest.counts[0].figures.duration_milliseconds = 5 * 86_400_000
    assert send(world, longest) is False
    assert billed(world, PRIVATE)[0].figures.duration_milliseconds == 5 * 86_400_000


def test_figures_stop_at_the_largest_and_nothing_fails_for_it(world: World, database: Database) -> None:
    """Many reports of the most that one may say: neither the next, nor who asks, nor the end of the day fails for everybody."""
    members = ["org_" + "abcdefghjkmnpqrstvwx"[index] * 26 for index in range(MINIMUM_GROUP)]
    for one in members:
        world.peers.set_organization(one, deployment=ON_PREMISES, usage_agreed=True)
    world.refresh()
    most = 2**63 - 1
    for one in members:
        send(world, report(organization_id=one))
    # As if there had been some 92,000 of the longest, in the row of this process…
    with world.database.transaction() as tx:
        for table in ("billing_usage", "analytics_usage"):
            tx.execute(text(f"UPDATE {table} SET duration_milliseconds = {most - 10**12}"))
    longest = report("report-0002", members[0], number=10**9)
    longest.counts[0].figures.duration_milliseconds = 10**14
    assert send(world, longest) is False
    # …and in another's.
    other = World(database)
    other.peers = world.peers
    other.start()
    longest.request_id = "report-0003"
    assert send(other, longest) is False
    [counts] = billed(world, members[0])
    assert (counts.figures.duration_milliseconds, counts.figures.calls) == (most, 5 + 2 * 10**9)
    world.travel(timedelta(days=2))
    close_days(world)
    [cell] = cells(world)
    assert (cell.figures.duration_milliseconds, cell.figures.calls) == (most, 5 * MINIMUM_GROUP + 2 * 10**9)
    # What comes to a cell later, of a key that a crash took, adds to it.
    with world.database.transaction() as tx:
        tx.execute(
            text(
                "INSERT INTO analytics_usage SELECT hour, model, gen_random_uuid(), "
                "('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, 'writer' || number, "
                + figures.COLUMNS
                + " FROM analytics_cells, generate_series(1, 10) AS number"
            )
        )
        analytics.fold(tx, cell.hour.ToDatetime(UTC), MINIMUM_GROUP)
    assert cells(world)[0].figures.duration_milliseconds == most


def test_hours_that_are_named_twice_are_added(world: World) -> None:
    twice = report()
    twice.counts.append(twice.counts[0])
    send(world, twice)
    assert calls(billed(world, PRIVATE)) == 10


def test_a_late_report_is_billed_and_in_no_analytics(world: World) -> None:
    send(world, report(age=timedelta(days=30)))
    assert calls(billed(world, PRIVATE, begins=NOON.replace(hour=0) - timedelta(days=40))) == 5
    assert rows(world, "SELECT * FROM analytics_usage") == []
    assert rows(world, "SELECT * FROM analytics_keys") == []


def test_reports_are_remembered_as_long_as_they_could_come_again(world: World) -> None:
    send(world, report())
    world.travel(REPORT_WINDOW - HOUR)
    world.jobs["reported_usage"].step()
    assert send(world, report()) is True
    world.travel(timedelta(hours=2))
    assert refusal(lambda: send(world, report())).name == "INVALID_ARGUMENT"
    world.travel(timedelta(days=1))
    world.jobs["reported_usage"].step()
    assert rows(world, "SELECT * FROM usage_reports") == []


def test_a_process_whose_clock_is_wrong_forgets_no_report(world: World) -> None:
    send(world, report())
    assert not world.jobs_of_a_wrong_clock(REPORT_WINDOW + timedelta(days=2))["reported_usage"].step()
    assert send(world, report()) is True


def test_erasure_removes_reports_and_nothing_is_counted_behind_its_fence(world: World) -> None:
    send(world, report())
    receipt = erase(world, PRIVATE)
    assert (receipt.removed["billing_usage"], receipt.removed["usage_reports"]) == (1, 1)
    # The replica does not know yet; the fence does.
    assert refusal(lambda: send(world, report("report-0002"))).name == "CLOSED"
    assert refusal(lambda: send(world, report())).name == "CLOSED"
    assert PRIVATE not in str(rows(world, "SELECT * FROM billing_usage")) + str(
        rows(world, "SELECT * FROM usage_reports")
    )


def test_reports_are_in_analytics_as_one_organization(world: World) -> None:
    for number in range(MINIMUM_GROUP):
        send(world, report(f"report-{number:04}"))
    assert rows(world, "SELECT count(DISTINCT pseudonym), sum(calls) FROM analytics_usage") == [(1, 50)]
    world.travel(timedelta(days=3))
    close_days(world)
    assert rows(world, "SELECT * FROM analytics_cells") == []


def test_what_is_sent_beside_counts_is_refused_as_before(world: World) -> None:
    [receipt] = world.record(world.interaction(PRIVATE))
    assert receipt.outcome == ingest_pb2.OUTCOME_REFUSED
    assert rows(world, "SELECT * FROM billing_usage") == []
    assert calls(billed(world, OTHER)) == 0

"""Retention runs: everything due goes once, whatever is lost on the way, and nothing is certified that is not so."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import insert

from kept.retention.v1 import certificates_pb2, holds_pb2, runs_pb2
from services.retention.certificates.destructions import Destruction
from services.retention.rules import RuleInForce, to_payload
from services.retention.runs.states import Run, RunState
from services.retention.store import rule_changes
from shared.errors import KeptError, Reason
from shared.terms import Rule, Term, TermKind, lot_of
from tests.unit.retention.world import ONE, START, TWO, Crashes, World, refused, staff

OPERATOR, AUDITOR = staff(1, "OPERATOR"), staff(2, "AUDITOR")
FIRST = START.date()


def alert(name: str) -> float | None:
    return REGISTRY.get_sample_value("kept_alert_active", {"alert": name})


def runs_of(world: World) -> list[runs_pb2.Run]:
    return list(world.runs(AUDITOR).ListRuns(runs_pb2.ListRunsRequest()).runs)


def is_done(world: World) -> Callable[[], bool]:
    """Whether a run is done, and its entries have arrived."""
    return lambda: bool(world.entries("run.ended"))


def bodies(world: World) -> list[dict[str, Any]]:
    """The certificates' bodies, oldest first."""
    stub = world.certificates(AUDITOR)
    found = stub.ListCertificates(certificates_pb2.ListCertificatesRequest(page_size=1000)).certificates
    return [
        json.loads(
            stub.GetCertificate(
                certificates_pb2.GetCertificateRequest(certificate_id=each.certificate_id)
            ).envelope
        )["body"]
        for each in reversed(found)
    ]


def travel_to_due(world: World, day: date, *, after: timedelta = timedelta(seconds=6)) -> None:
    due = datetime(day.year, day.month, day.day, tzinfo=START.tzinfo) + timedelta(days=30, hours=-2)
    world.clock.advance(due + after - world.clock.now())


def fill(world: World, days: int = 3) -> None:
    """Two organizations, several days, one record that is held."""
    for number in range(days):
        world.record(ONE, START + timedelta(days=number))
        world.record(ONE, START + timedelta(days=number, hours=1))
    world.record(TWO, START)
    held = world.record(TWO, START)
    hold = world.holds(staff(3, "LEGAL")).PlaceHold(world.order(held, organization_id=TWO)).hold
    world.holds(staff(4, "LEGAL")).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold.hold_id))


def check_first_day(world: World) -> None:
    (run,) = runs_of(world)
    assert run.state == runs_pb2.RUN_STATE_DONE
    assert (run.through_day, run.epochs_destroyed) == (FIRST.isoformat(), 2)
    assert (run.records_removed, run.records_held) == (3, 1)
    assert (run.certificates, run.late_seconds) == (2, 0)
    assert world.logging.drops == {FIRST: 1}
    assert set(world.keys.marks.values()) == {1}
    one, two = sorted(bodies(world), key=lambda body: str(body["organization_id"]))
    assert one["organization_id"] == ONE
    assert one["days"] == [
        {
            "day": FIRST.isoformat(),
            "epoch_key_ids": [f"epoch_1{FIRST:%m%d}"],
            "destruction_ids": [run.run_id],
            "records_removed": 2,
            "records_held": 0,
        }
    ]
    assert one["holds"] == []
    assert (two["records_removed"], two["records_held"]) == (1, 1)
    assert [(hold["kind"], hold["records"]) for hold in two["holds"]] == [("LEGAL", 1)]
    (destruction,) = two["destructions"]
    assert destruction["destruction_id"] == run.run_id
    assert destruction["destroyed_at"]
    assert destruction["key_store_statement"] == "Files on a disk that is not backed up."
    assert two["rule"]["kind"] == "AT_MOST"
    assert (two["rule"]["days"], two["rule"]["run_window_seconds"]) == (30, 7200)
    for kind in ("run.started", "run.ended"):
        assert len(world.entries(kind)) == 1
    assert len(world.entries("certificate.signed")) == 2


def test_a_run_starts_by_itself_when_something_is_due_and_not_before(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST, after=-timedelta(seconds=10))
    world.settle(10)
    assert runs_of(world) == []
    assert (ONE, FIRST) in world.keys.epochs
    travel_to_due(world, FIRST)
    world.settle(20, until=is_done(world))
    check_first_day(world)
    world.settle(3)
    assert len(runs_of(world)) == 1  # once a day


def test_lost_calls_and_answers_change_nothing_of_what_becomes_of_a_run(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    world.lose_first = True
    world.settle(60, until=is_done(world))
    check_first_day(world)


@pytest.mark.parametrize("seed", [1, 2])
def test_crashes_around_commits_change_nothing_of_what_becomes_of_a_run(world: World, seed: int) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    world.crash = crash = Crashes(seed)
    world.settle(90, until=is_done(world))
    world.crash = None
    world.settle(2)  # what happened is told a moment later
    check_first_day(world)
    assert min(crash.seen["before"], crash.seen["after"]) > 5


@pytest.mark.parametrize(
    "method",
    [
        "ListStoredDays",
        "DestroyEpochs",
        "DropExpired",
        "ListDestroyedEpochs",
        "ListDroppedCounts",
        "AppendEntries",
        "GetInclusionProof",
    ],
)
def test_no_step_begins_before_the_one_before_it_is_complete(world: World, method: str) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    world.down = {method}
    world.settle(4)
    if method == "DestroyEpochs":
        assert not world.logging.drops
    if method == "DropExpired":
        assert not world.entries("certificate.signed")
    assert method == "ListStoredDays" or runs_of(world)[0].state != runs_pb2.RUN_STATE_DONE
    assert method == "ListStoredDays" or bodies(world) == []
    world.down = set()
    world.wire()
    world.settle(60, until=is_done(world))
    check_first_day(world)


def test_how_far_a_run_is_can_be_seen_while_it_goes_on(world: World) -> None:
    for number in range(3):
        world.record(ONE, START - timedelta(days=number))
    travel_to_due(world, FIRST)
    seen: list[tuple[int, int, int, int]] = []

    def look(method: str) -> None:
        if method.endswith(("/DropExpired", "/ListDroppedCounts")):
            world.afterwards = None
            (run,) = runs_of(world)
            seen.append((run.days, run.days_dropped, run.records_removed, run.certificates))
            world.afterwards = look

    world.afterwards = look
    world.settle(30, until=is_done(world))
    world.afterwards = None
    # Each is seen before what came of the call is written down; then all of it, as the counts are collected.
    assert seen[:4] == [(3, 0, 0, 0), (3, 1, 1, 0), (3, 2, 2, 0), (3, 3, 3, 0)]
    (run,) = runs_of(world)
    assert (run.days, run.days_dropped, run.records_removed, run.certificates) == (3, 3, 3, 1)


def test_after_a_week_without_the_service_one_run_catches_up_and_says_how_late_it_is(world: World) -> None:
    fill(world, days=10)
    world.keys.epochs.add((ONE, FIRST - timedelta(days=90)))  # a key that never sealed anything is not late
    travel_to_due(world, FIRST + timedelta(days=6))
    world.settle(20, until=is_done(world))
    (run,) = runs_of(world)
    assert run.through_day == (FIRST + timedelta(days=6)).isoformat()
    assert sorted(world.logging.drops) == [FIRST + timedelta(days=number) for number in range(7)]
    # Day one's term ended two hours after it was due, six days ago.
    late = timedelta(days=6, hours=-2).total_seconds()
    assert late < run.late_seconds < late + 30
    one = next(body for body in bodies(world) if body["organization_id"] == ONE)
    assert one["late_seconds"] == run.late_seconds
    assert len(one["days"]) == 8
    assert world.logging.rows  # what is not due is there


def test_what_is_left_behind_is_not_certified_and_certified_by_the_run_that_succeeds(world: World) -> None:
    fill(world)
    second = FIRST + timedelta(days=1)
    world.logging.not_due = {FIRST}
    travel_to_due(world, second)
    world.settle(2)
    assert (
        runs_of(world)[0].state == runs_pb2.RUN_STATE_DROPPING_ROWS
    )  # perhaps logging knows the rule in a moment
    world.clock.advance(timedelta(hours=1))
    world.settle(4)
    (run,) = runs_of(world)
    assert run.state == runs_pb2.RUN_STATE_NOT_CERTIFIED
    assert bodies(world) == []
    assert world.logging.drops == {second: 1}
    (entry,) = world.entries("run.not_certified")
    assert entry.facts["oldest_day"] == FIRST.isoformat()

    world.settle(2)
    assert len(runs_of(world)) == 1  # tried again after an hour, not at once
    world.logging.not_due = set()
    world.clock.advance(timedelta(hours=1))
    world.settle(20, until=is_done(world))
    again, before = runs_of(world)
    assert (before.run_id, again.state) == (run.run_id, runs_pb2.RUN_STATE_DONE)
    one = next(body for body in bodies(world) if body["organization_id"] == ONE)
    assert [(day["day"], day["records_removed"], day["destruction_ids"]) for day in one["days"]] == [
        (FIRST.isoformat(), 2, [run.run_id]),
        (second.isoformat(), 2, [run.run_id]),
    ]
    assert [each["destruction_id"] for each in one["destructions"]] == [run.run_id]


def test_content_is_not_certified_as_gone_while_a_key_to_it_lives(world: World) -> None:
    fill(world)
    world.keys.not_due = {(ONE, FIRST)}  # access control knows another rule
    travel_to_due(world, FIRST)
    world.settle(6)
    (run,) = runs_of(world)
    assert run.state == runs_pb2.RUN_STATE_NOT_CERTIFIED
    assert bodies(world) == []
    (entry,) = world.entries("run.not_certified")
    assert (entry.facts["why"], entry.facts["oldest_day"]) == ("keys_left", FIRST.isoformat())
    assert alert("retention_run_not_certified") == 1

    world.keys.not_due = set()
    world.clock.advance(timedelta(hours=1))
    world.settle(20, until=is_done(world))  # though logging has nothing left that is due
    world.settle(2)
    again, _ = runs_of(world)
    assert alert("retention_run_not_certified") == 0
    one, two = sorted(bodies(world), key=lambda body: str(body["organization_id"]))
    assert [(day["records_removed"], day["destruction_ids"]) for day in one["days"]] == [(2, [again.run_id])]
    assert [(day["records_removed"], day["destruction_ids"]) for day in two["days"]] == [(1, [run.run_id])]


def test_both_alerts_stand_from_a_run_that_leaves_something_until_one_has_certified_it(world: World) -> None:
    fill(world)
    world.keys.not_due = {(ONE, FIRST)}
    travel_to_due(world, FIRST)
    world.settle(6)

    def both() -> tuple[float | None, float | None]:
        return alert("retention_run_not_certified"), alert("retention_run_late")

    assert both() == (1, 0)
    world.clock.advance(timedelta(minutes=30))
    world.settle(1)
    assert (len(runs_of(world)), both()) == (1, (1, 0))  # it waits for its hour, and is not late yet
    world.clock.advance(timedelta(minutes=35))
    world.down = {"DestroyEpochs"}
    world.settle(2)
    again, _ = runs_of(world)
    assert (again.state, both()) == (runs_pb2.RUN_STATE_DESTROYING_KEYS, (1, 0))  # while the next one tries
    world.down = set()
    world.clock.advance(timedelta(hours=1))
    world.settle(6)
    world.clock.advance(timedelta(minutes=5))
    world.settle(1)
    assert [run.state for run in runs_of(world)] == [runs_pb2.RUN_STATE_NOT_CERTIFIED] * 2
    assert both() == (1, 1)  # and while it waits for the one after

    world.keys.not_due = set()
    world.clock.advance(timedelta(hours=1))
    world.settle(20, until=is_done(world))
    world.settle(2)
    assert both() == (0, 0)


def test_an_alert_stands_when_what_is_due_outlives_its_term_even_if_no_run_ever_starts(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    world.down = {"ListStoredDays"}
    world.settle(2)
    assert (runs_of(world), alert("retention_run_late")) == ([], 0)
    world.clock.advance(timedelta(hours=2))
    world.settle(1)
    assert alert("retention_run_late") == 1
    world.down = {"DestroyEpochs"}
    world.settle(2)
    assert (len(runs_of(world)), alert("retention_run_late")) == (1, 1)
    world.down = set()
    world.settle(20, until=is_done(world))
    world.settle(1)
    assert alert("retention_run_late") == 0


def test_two_processes_carry_one_run_and_certify_once(world: World) -> None:
    """Whatever one does while the other is in the middle of a call, nothing is done or written twice."""
    fill(world)
    travel_to_due(world, FIRST)
    first, second = world, world.twin()
    busy = False

    def in_the_middle(method: str) -> None:
        nonlocal busy
        if not busy and not method.endswith("/Check"):
            busy = True
            second.step()
            busy = False

    first.during = in_the_middle
    first.settle(30, until=is_done(first))
    first.during = None
    check_first_day(first)


def test_no_transaction_is_open_while_another_service_is_called(world: World) -> None:
    def look(method: str) -> None:
        with world.database.engine.connect() as connection:
            idle = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND starts_with(state, 'idle in transaction')"
            ).scalar_one()
        assert idle == 0, method

    world.during = look
    fill(world)
    travel_to_due(world, FIRST)
    world.settle(20, until=is_done(world))
    check_first_day(world)


def test_an_operator_starts_a_run_or_gets_the_one_that_goes_on(world: World) -> None:
    stub = world.runs(OPERATOR)
    started = stub.StartRun(runs_pb2.StartRunRequest()).run
    assert stub.StartRun(runs_pb2.StartRunRequest()).run.run_id == started.run_id
    world.settle(4)
    done = stub.GetRun(runs_pb2.GetRunRequest(run_id=started.run_id)).run
    assert done.state == runs_pb2.RUN_STATE_DONE
    assert (done.epochs_destroyed, done.records_removed, done.certificates) == (0, 0, 0)
    assert stub.StartRun(runs_pb2.StartRunRequest()).run.run_id != started.run_id
    world.settle(1)
    assert [entry.actor for entry in world.entries("run.started")] == [f"person_{1:026}"] * 2
    with refused(Reason.REASON_NOT_FOUND):
        stub.GetRun(runs_pb2.GetRunRequest(run_id="run_" + "0" * 26))


def test_without_anything_due_the_scheduler_starts_nothing(world: World) -> None:
    world.clock.advance(timedelta(days=60))
    world.settle(5)
    assert runs_of(world) == []


def test_a_plan_changes_nothing(world: World) -> None:
    fill(world)
    world.down = {"DestroyEpochs"}
    travel_to_due(world, FIRST)
    plan = world.runs(OPERATOR).PlanRun(runs_pb2.PlanRunRequest())
    assert plan.through_day == FIRST.isoformat()
    assert [(day.organization_id, day.records, day.held) for day in plan.days] == [(ONE, 2, 0), (TWO, 1, 1)]
    (why,) = plan.days[1].holds
    assert (why.kind, why.reference, why.records) == (holds_pb2.HOLD_KIND_LEGAL, "Matter 12", 1)
    assert (plan.days[0].term.days, list(plan.kept_longer)) == (30, [])
    assert runs_of(world) == []


STATES = {
    RunState.DESTROYING_KEYS: {RunState.DROPPING_ROWS},
    RunState.DROPPING_ROWS: {RunState.CERTIFYING},
    RunState.CERTIFYING: {RunState.DONE, RunState.NOT_CERTIFIED},
}


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize("after", RunState)
def test_a_run_goes_no_other_way(before: RunState, after: RunState) -> None:
    rule = RuleInForce(Term(TermKind.AT_MOST, 30), timedelta(hours=2), 1, START)
    run = Run("run_1", before, FIRST, START, "service:retention", rule, destruction=Destruction("run_1"))
    if after in STATES.get(before, ()):
        assert run.to(after, START).is_over is (after in (RunState.DONE, RunState.NOT_CERTIFIED))
    else:
        with pytest.raises(KeptError):
            run.to(after, START)


@pytest.mark.parametrize("applications", [False, True])
def test_a_run_goes_by_the_terms_of_ten_thousand(world: World, *, applications: bool) -> None:
    """All that it asks of other services says them at once."""
    others = [
        lot_of(TWO, f"night {number}") if applications else f"org_{number:026}" for number in range(10_001)
    ]
    longer = others[0]
    for lot in (ONE, longer):
        world.record(lot, START)
    world.settle(2)
    payload = to_payload(Rule(Term(TermKind.AT_MOST, 40), timedelta(hours=2)))
    changes = [
        {"version": number, "subject": lot, "payload": payload, "effective_at": START}
        for number, lot in enumerate(others, start=2)
    ]
    with world.database.transaction() as tx:
        tx.execute(insert(rule_changes), changes)
    travel_to_due(world, FIRST)
    world.runs(OPERATOR).StartRun(runs_pb2.StartRunRequest())
    for _ in range(20):
        world.step("runs", "certificates", "outbox")
    (run,) = runs_of(world)
    assert (run.state, run.records_removed) == (runs_pb2.RUN_STATE_DONE, 1)
    assert list(world.logging.rows.values()) == [longer]
    assert [body["organization_id"] for body in bodies(world)] == [ONE]

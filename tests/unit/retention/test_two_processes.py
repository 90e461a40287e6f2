"""Two operating-system processes of the service, both asked for a run at the same instant, again and again: there is one at a time."""

import multiprocessing
from datetime import timedelta
from typing import Any

import structlog

from services.retention import store
from services.retention.rules import RuleBook
from services.retention.runs.runs import Runs
from services.retention.runs.states import RunState
from services.retention.store import runs as rows
from shared.change_feed import ChangeFeed
from shared.database import Database
from shared.outbox import Outbox
from shared.terms import Rule, Term, TermKind
from tests.support.clocks import ManualClock
from tests.unit.retention.world import World

_TURNS = 5


def _runs(url: str, clock: ManualClock) -> tuple[Database, Runs]:
    nobody: Any = None
    database = Database(url)
    outbox = Outbox(store.outbox, database, clock, nobody, positions=store.audit_position)
    rule = Rule(Term(TermKind.AT_MOST, 30), timedelta(hours=2))
    rules = RuleBook(ChangeFeed(store.rule_changes, database, clock), database, clock, outbox, rule)
    return database, Runs(database, clock, outbox, nobody, rules, nobody)


def _ask(url: str, now: Any, together: Any, answers: Any) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    database, runs = _runs(url, ManualClock(now))
    for _ in range(_TURNS):
        together.wait(30)  # both at once
        answers.put(runs.start("person_" + "1" * 26).run_id)
        together.wait(30)  # the run is ended before the next turn
        together.wait(30)
    database.close()


def test_there_is_one_run_at_a_time(world: World) -> None:
    world.step("rules")
    world.clock.advance(timedelta(days=40))
    spawning = multiprocessing.get_context("spawn")  # a forked process would share connections
    together, answers = spawning.Barrier(3), spawning.Queue()
    arguments = (world.url, world.clock.now(), together, answers)
    processes = [spawning.Process(target=_ask, args=arguments, daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    for _ in range(_TURNS):
        together.wait(60)
        first, second = answers.get(timeout=30), answers.get(timeout=30)
        assert first == second
        together.wait(30)
        with world.database.transaction() as tx:
            run = rows.lock(tx, first)
            assert run is not None
            for state in (RunState.DROPPING_ROWS, RunState.CERTIFYING, RunState.NOT_CERTIFIED):
                run = run.to(state, world.clock.now())
            rows.save(tx, run)
        together.wait(30)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0

"""Two processes of the service at the same row, and at the same rule: whoever comes second decides by what the first has written.

Each of these fails when the lock that it is about is taken out; docs/locks.md names them. A simulated process cannot be in the middle of a
transaction while another acts, so here they are two connections.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from kept.retention.v1 import contracts_pb2, holds_pb2, runs_pb2
from services.retention import store
from services.retention.certificates.destructions import Destruction
from services.retention.erasures.organization_states import ErasureState
from services.retention.holds import hold as holds
from services.retention.holds.hold import Hold, HoldState
from services.retention.holds.sweeping import Sweeper
from services.retention.rules import RuleBook
from services.retention.runs.runs import Runs
from services.retention.store import Tx
from services.retention.store import contents as content_rows
from services.retention.store import erasures as erasure_rows
from services.retention.store import holds as hold_rows
from services.retention.store import runs as run_rows
from services.retention.store import subjects as subject_rows
from services.retention.store import terms as term_rows
from services.retention.terms import contract_term as contract_terms
from shared.change_feed import ChangeFeed
from shared.errors import KeptError, Reason
from shared.outbox import Outbox
from shared.terms import Rule, Term, TermKind
from tests.support.meanwhile import Another, begun, meanwhile, watched
from tests.unit.retention import (
    test_confidential_holds,
    test_content_erasures,
    test_erasures,
    test_subject_erasures,
)
from tests.unit.retention.test_contract_terms import LENA, LUCA, order, put_in_force, rules_of
from tests.unit.retention.test_contract_terms import listed as listed_term
from tests.unit.retention.test_holds import ALICE, BOB, FLAGGED, listed
from tests.unit.retention.test_runs import FIRST, OPERATOR, fill, runs_of, travel_to_due
from tests.unit.retention.world import ONE, SAFETY, START, World, refused


def _hold(world: World, kind: "holds_pb2.HoldKind.ValueType" = holds_pb2.HOLD_KIND_LEGAL) -> str:
    caller = SAFETY if kind == FLAGGED else ALICE
    return world.holds(caller).PlaceHold(world.order(world.record(ONE, START), kind=kind)).hold.hold_id


def _confirm(world: World, hold_id: str) -> None:
    world.holds(BOB).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold_id))


def _extend(world: World, hold_id: str) -> None:
    request = holds_pb2.ExtendHoldRequest(hold_id=hold_id, reason="appeal")
    request.review_at.FromDatetime(world.clock.now() + timedelta(days=100))
    world.holds(SAFETY).ExtendHold(request)


def _end_by_itself(world: World, hold_id: str) -> None:
    world.clock.advance(timedelta(days=91))
    world.step("holds")


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        (holds_pb2.HOLD_KIND_LEGAL, _confirm),
        (FLAGGED, _extend),
        (FLAGGED, _end_by_itself),
    ],
)
def test_what_was_let_go_meanwhile_stays_let_go(
    world: World, kind: "holds_pb2.HoldKind.ValueType", act: Callable[[World, str], None]
) -> None:
    hold_id = _hold(world, kind)
    other = world.twin()

    def acts() -> None:
        with suppress(KeptError):
            act(other, hold_id)

    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, holds.release(hold))
        second = meanwhile(tx, world.database.engine, acts)
        assert second.is_waiting
    second.result()
    world.settle(2)
    with world.database.transaction() as tx:
        found = hold_rows.get(tx, hold_id)
    other.database.close()
    assert found is not None
    assert (found.state in (HoldState.RELEASING, HoldState.RELEASED), found.confirmed_by) == (True, "")
    assert found.review_at == hold.review_at
    assert not [entry for entry in world.entries("hold.released") if entry.actor == "service:retention"]


def test_what_was_confirmed_meanwhile_is_let_go_as_confirmed(world: World) -> None:
    hold_id = _hold(world)
    other = world.twin()
    request = holds_pb2.ReleaseHoldRequest(hold_id=hold_id, reason="over")
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        confirmed = holds.confirm(hold, "person_" + "2" * 26, world.clock.now())
        hold_rows.save(tx, confirmed)
        second = meanwhile(tx, world.database.engine, lambda: other.holds(ALICE).ReleaseHold(request))
        assert second.is_waiting
    second.result()
    other.database.close()
    with world.database.transaction() as tx:
        found = hold_rows.get(tx, hold_id)
    assert found is not None
    assert (found.confirmed_by, found.state is HoldState.ACTIVE) == (confirmed.confirmed_by, False)


def test_a_hold_that_is_let_go_before_it_was_placed_does_not_lapse_besides(world: World) -> None:
    asked = world.order(world.record(ONE, START))
    world.down = {"HoldRecords"}
    hold_id = world.holds(ALICE).PlaceHold(asked).hold.hold_id
    world.clock.advance(holds.CONFIRMATION_TIME)
    other = world.twin()
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, holds.release(hold))
        second = meanwhile(tx, world.database.engine, lambda: other.holds(ALICE).PlaceHold(asked))
        assert second.is_waiting
    second.result()
    other.database.close()
    world.settle(2)
    assert world.entries("hold.lapsed") == []


class _Middle:
    """Another process that is in the middle of a call of its job when the block begins, and goes on with `goes_on`."""

    def __init__(self, world: World, job: str, *methods: str) -> None:
        self._reached, self._goes_on = threading.Event(), threading.Event()
        self._methods = methods
        self._other = world.twin()
        self._other.during = self._stop
        self._done = begun(lambda: self._other.step(job))
        self._database = world.database
        assert self._reached.wait(20)

    def _stop(self, method: str) -> None:
        name = method.rsplit("/", 1)[-1]
        if name in self._methods or (not self._methods and name != "ListOwnEntries"):
            self._reached.set()
            assert self._goes_on.wait(20)

    def goes_on(self, tx: Tx) -> None:
        """Has it go on, and find that it has to wait for this transaction."""
        self._goes_on.set()
        assert watched(tx, self._database.engine, self._done).is_waiting

    def result(self) -> None:
        """Waits for it, once the transaction has ended."""
        self._done.result(20)
        self._other.database.close()


@pytest.mark.parametrize("scope", [False, True], ids=["on records", "on all that matches"])
def test_a_hold_that_is_let_go_as_its_placing_ends_is_not_brought_back(world: World, scope: bool) -> None:
    record = world.record(ONE, START)
    asked = world.order(*([] if scope else [record]))
    if scope:
        asked.scope.SetInParent()
    world.down = {"HoldRecords", "HoldMatching"}
    hold_id = world.holds(ALICE).PlaceHold(asked).hold.hold_id
    world.down = set()
    second = _Middle(world, "holds", "RetainRecords")
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, holds.release(hold))
        second.goes_on(tx)
    second.result()
    world.settle(5)
    assert listed(world, hold_id).state == holds_pb2.HOLD_STATE_RELEASED
    assert (world.logging.holds.get(hold_id), world.keys.retained.get(hold_id)) == (None, None)


def test_a_hold_that_is_let_go_after_its_first_look_is_not_brought_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = world.order()
    asked.scope.SetInParent()
    world.record(ONE, START)
    world.down = {"HoldMatching"}
    hold_id = world.holds(ALICE).PlaceHold(asked).hold.hold_id
    world.down = set()
    look, looked, goes_on = Sweeper.sweep, threading.Event(), threading.Event()

    def slept_after(sweeper: Sweeper, hold: Hold) -> Hold:
        swept = look(sweeper, hold)
        looked.set()
        assert goes_on.wait(20)
        return swept

    monkeypatch.setattr(Sweeper, "sweep", slept_after)
    other = world.twin()
    done = begun(lambda: other.step("holds"))
    assert looked.wait(20)
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, holds.release(hold))
        goes_on.set()
        assert watched(tx, world.database.engine, done).is_waiting
    done.result(20)
    other.database.close()
    world.settle(5)
    assert listed(world, hold_id).state == holds_pb2.HOLD_STATE_RELEASED


def test_what_two_looks_find_is_added_up(world: World) -> None:
    asked = world.order()
    asked.scope.SetInParent()
    world.record(ONE, START)
    hold_id = world.holds(ALICE).PlaceHold(asked).hold.hold_id
    world.clock.advance(timedelta(hours=2))
    world.record(ONE, START)
    second = _Middle(world, "holds", "HoldMatching")
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, replace(hold, records_kept=hold.records_kept + 100))
        second.goes_on(tx)
    second.result()
    assert listed(world, hold_id).records_kept == 102


def test_a_hold_ends_once(world: World) -> None:
    hold_id = _hold(world)
    world.down = {"ReleaseRecords"}
    world.holds(ALICE).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold_id, reason="over"))
    world.down = set()
    world.step("holds")  # the first answer about keys is that it is under way
    second = _Middle(world, "holds", "ReleaseRecords")
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        ended = holds.end(hold, Destruction("release_of_the_first"), 7, world.clock.now())
        hold_rows.save(tx, ended)
        second.goes_on(tx)
    second.result()
    with world.database.transaction() as tx:
        assert hold_rows.get(tx, hold_id) == ended


@pytest.mark.parametrize("where", ["as it is reviewed", "as it is told"])
def test_a_confidential_hold_that_is_let_go_meanwhile_stays_let_go(world: World, where: str) -> None:
    hold_id = test_confidential_holds.secret(world, world.record(ONE, START)).hold_id
    second: _Middle | Another[object]
    if where == "as it is told":
        world.down = {"DiscloseHold"}
        test_confidential_holds.review(world, hold_id, ends=True)
        world.down = set()
        second = _Middle(world, "holds", "DiscloseHold")
    with world.database.transaction() as tx:
        hold = hold_rows.lock(tx, hold_id)
        assert hold is not None
        hold_rows.save(tx, holds.release(hold))
        if where == "as it is told":
            assert isinstance(second, _Middle)
            second.goes_on(tx)
        else:
            other = world.twin()
            second = meanwhile(
                tx, world.database.engine, lambda: test_confidential_holds.review(other, hold_id, ends=True)
            )
            assert second.is_waiting
    second.result()
    with world.database.transaction() as tx:
        found = hold_rows.get(tx, hold_id)
    assert found is not None
    assert found.state is not HoldState.ACTIVE
    assert not found.is_secret


def test_who_tells_of_a_hold_as_logging_begins_to_erase_waits_until_it_has(world: World) -> None:
    hold_id = test_confidential_holds.secret(world, world.record(ONE, START)).hold_id
    erasure_id = test_erasures.begin(world).erasure_id
    other = world.twin()
    with world.database.transaction() as tx:
        erasure = erasure_rows.lock(tx, erasure_id)
        assert erasure is not None
        erasure_rows.save(tx, replace(erasure, state=ErasureState.ERASING))
        second = meanwhile(
            tx, world.database.engine, lambda: test_confidential_holds.review(other, hold_id, ends=True)
        )
        assert second.is_waiting
    second.result()
    other.database.close()
    assert hold_id not in world.logging.disclosed
    world.settle(30)
    assert hold_id in world.logging.disclosed
    assert [entry.facts["counted"] for entry in world.entries("hold.disclosed")] == ["false"]


def _run(world: World) -> str:
    fill(world)
    travel_to_due(world, FIRST)
    run_id = world.runs(OPERATOR).StartRun(runs_pb2.StartRunRequest()).run.run_id
    world.step("runs")  # the first answer about keys is that it is under way
    return run_id


def _subject(world: World) -> str:
    test_subject_erasures.fill(world)
    return test_subject_erasures.begin(world).erasure.erasure_id


def _content(world: World) -> str:
    test_content_erasures.fill(world)
    erasure_id = test_content_erasures.begin(world).erasure_id
    world.step("content_erasures")
    return erasure_id


@pytest.mark.parametrize(
    ("begin", "rows", "job", "mark"),
    [
        (_run, run_rows, "runs", {"late_seconds": 7}),
        (
            lambda world: test_erasures.begin(world).erasure_id,
            erasure_rows,
            "erasures",
            {"epochs_destroyed": 7},
        ),
        (_subject, subject_rows, "subject_erasures", {"told": 7}),
        (_content, content_rows, "content_erasures", {"epochs_destroyed": 7}),
    ],
    ids=["run", "erasure", "erasure of an end user", "erasure of content"],
)
def test_a_step_that_was_overtaken_writes_nothing(
    world: World, begin: Callable[[World], str], rows: Any, job: str, mark: dict[str, int]
) -> None:
    """The second has read it, and is in the middle of a call, when the first writes."""
    act_id = begin(world)
    second = _Middle(world, job)
    with world.database.transaction() as tx:
        found = rows.lock(tx, act_id)
        changed = replace(found, **mark)
        rows.save(tx, changed)
        second.goes_on(tx)
    second.result()
    with world.database.transaction() as tx:
        assert rows.get(tx, act_id) == changed


def _rules(world: World) -> RuleBook:
    """The rules as another process changes them."""
    feed = ChangeFeed(store.rule_changes, world.database, world.clock)
    rule = Rule(Term(TermKind.AT_MOST, 30), timedelta(hours=2))
    return RuleBook(feed, world.database, world.clock, _outbox(world), rule)


def _runs(world: World) -> Runs:
    """Runs as another process begins them, which asks nobody."""
    nobody: Any = None
    return Runs(world.database, world.clock, _outbox(world), nobody, _rules(world), nobody)


def _outbox(world: World) -> Outbox:
    sends: Any = None
    return Outbox(store.outbox, world.database, world.clock, sends, positions=store.audit_position)


def test_one_run_begins_whoever_asks_at_the_same_time(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    other = world.twin()
    runs = _runs(world)
    with world.database.transaction() as tx:
        run = runs.start_in(tx, "person_" + "1" * 26)
        assert run is not None
        request = runs_pb2.StartRunRequest()
        second = meanwhile(tx, world.database.engine, lambda: other.runs(OPERATOR).StartRun(request))
        assert second.is_waiting
    assert second.result().run.run_id == run.run_id
    other.database.close()
    assert len(runs_of(world)) == 1


def test_a_run_that_is_asked_for_as_a_rule_changes_waits_until_it_has(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    rules, other = _rules(world), world.twin()

    def start() -> str:
        with pytest.raises(KeptError) as caught:
            other.runs(OPERATOR).StartRun(runs_pb2.StartRunRequest())
        return caught.value.name

    with world.database.transaction() as tx:
        assert rules.may_change(tx)
        rules.set_own(tx, ONE, Term(TermKind.AT_MOST, 10), "person_" + "1" * 26)
        second = meanwhile(tx, world.database.engine, start)
        assert second.is_waiting
    assert second.result() == "OVERLOADED"
    other.database.close()


def test_a_rule_that_is_to_change_as_a_run_begins_waits_until_that_is_over(world: World) -> None:
    fill(world)
    travel_to_due(world, FIRST)
    proposed = world.contracts(LENA).SetTerm(order(10)).term
    runs, other = _runs(world), world.twin()
    request = contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id)
    with world.database.transaction() as tx:
        assert runs.start_in(tx, "person_" + "1" * 26)
        second = meanwhile(tx, world.database.engine, lambda: other.contracts(LUCA).ConfirmTerm(request).term)
        assert second.is_waiting
    confirmed = second.result()
    other.database.close()
    assert confirmed.state == contracts_pb2.CONTRACT_TERM_STATE_CONFIRMED
    assert not confirmed.HasField("effective_at")
    assert rules_of(world, ONE) == []


@pytest.mark.parametrize("what", ["confirmed", "ended"])
def test_a_term_that_was_withdrawn_meanwhile_stays_so(world: World, what: str) -> None:
    term_id = world.contracts(LENA).SetTerm(order(10)).term.term_id
    other = world.twin()

    def acts() -> None:
        if what == "confirmed":
            other.contracts(LUCA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=term_id))
        else:
            other.contracts(LUCA).EndTerm(contracts_pb2.EndTermRequest(term_id=term_id, reason="x"))

    with world.database.transaction() as tx:
        term = term_rows.lock(tx, term_id)
        assert term is not None
        withdrawn = contract_terms.end(term, world.clock.now(), "lapsed")
        term_rows.save(tx, withdrawn)
        second = meanwhile(tx, world.database.engine, acts)
        assert second.is_waiting
    with suppress(KeptError):
        second.result()
    other.database.close()
    with world.database.transaction() as tx:
        assert term_rows.get(tx, term_id) == withdrawn
    assert rules_of(world, ONE) == []


def test_a_term_that_was_confirmed_in_time_does_not_lapse(world: World) -> None:
    term_id = world.contracts(LENA).SetTerm(order(10, from_day="2026-05-01")).term.term_id
    other = world.twin()
    with world.database.transaction() as tx:
        term = term_rows.lock(tx, term_id)
        assert term is not None
        confirmed = contract_terms.confirm(term, "person_" + "2" * 26, world.clock.now())
        term_rows.save(tx, confirmed)
        world.clock.advance(timedelta(hours=73))
        second = meanwhile(tx, world.database.engine, lambda: other.step("terms"))
        assert second.is_waiting
    second.result()
    other.database.close()
    with world.database.transaction() as tx:
        assert term_rows.get(tx, term_id) == confirmed


def test_who_proposed_the_end_of_a_term_stays_known_as_another_takes_its_place(world: World) -> None:
    first = put_in_force(world, order(10))
    world.clock.advance(timedelta(minutes=1))
    next_term = world.contracts(LENA).SetTerm(order(20, name="request-2")).term
    other = world.twin()
    request = contracts_pb2.ConfirmTermRequest(term_id=next_term.term_id)
    with world.database.transaction() as tx:
        term = term_rows.lock(tx, first.term_id)
        assert term is not None
        now = world.clock.now()
        proposed = contract_terms.propose_end(term, "person_" + "1" * 26, "over", term.effect, now)
        term_rows.save(tx, proposed)
        second = meanwhile(tx, world.database.engine, lambda: other.contracts(LUCA).ConfirmTerm(request))
        assert second.is_waiting
    second.result()
    other.database.close()
    ended = listed_term(world, first.term_id)
    assert ended.state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    assert (ended.end_proposed_by, ended.end_reason) == (
        proposed.end_proposed_by,
        f"replaced by {next_term.term_id}",
    )


def test_two_terms_that_begin_at_once_leave_one_in_force(world: World) -> None:
    """The first is in force, and a second is being put in its place as the first is ended."""
    first = put_in_force(world, order(10))
    world.clock.advance(timedelta(minutes=1))
    second_term = world.contracts(LENA).SetTerm(order(20, name="request-2")).term
    world.contracts(LUCA).EndTerm(contracts_pb2.EndTermRequest(term_id=first.term_id, reason="over"))
    other = world.twin()
    request = contracts_pb2.ConfirmTermRequest(term_id=second_term.term_id)
    rules = _rules(world)
    with world.database.transaction() as tx:
        assert rules.may_change(tx)
        term = term_rows.lock(tx, first.term_id)
        assert term is not None
        at = rules.set_own(tx, ONE, None, "person_" + "1" * 26)
        term_rows.save(tx, contract_terms.end(term, at))
        second = meanwhile(tx, world.database.engine, lambda: other.contracts(LUCA).ConfirmTerm(request))
        assert second.is_waiting
    second.result()
    world.settle(3)
    other.database.close()
    assert rules_of(world, ONE) == [10, 0, 20]
    with world.database.transaction() as tx:
        in_force = [one.term_id for one in term_rows.in_force(tx, ONE, "")]
        ended = term_rows.get(tx, first.term_id)
    assert in_force == [second_term.term_id]
    assert ended is not None
    assert not ended.end_reason.startswith("replaced")


def test_a_hold_that_two_processes_place_for_one_request_is_one(world: World) -> None:
    asked, other = world.order(world.record(ONE, START)), world.twin()
    world.down = {"HoldRecords"}
    placed = world.holds(ALICE).PlaceHold(asked).hold
    with world.database.transaction() as tx:
        hold = hold_rows.get(tx, placed.hold_id)
        assert hold is not None
        twice = replace(hold, hold_id="hold_" + "z" * 26, request_id="request-9")
        assert hold_rows.add(tx, twice)
        again = holds_pb2.PlaceHoldRequest()
        again.CopyFrom(asked)
        again.request_id = "request-9"
        second = meanwhile(tx, world.database.engine, lambda: other.holds(ALICE).PlaceHold(again).hold)
        assert second.is_waiting
    assert second.result().hold_id == twice.hold_id
    other.database.close()
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        again.reference = "Matter 13"
        world.holds(ALICE).PlaceHold(again)

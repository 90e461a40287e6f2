"""Contract terms of single applications: proposed and confirmed like others, beside their organization's, and runs that go by them."""

from datetime import UTC, timedelta

import pytest

from kept.retention.v1 import contracts_pb2, rules_pb2, runs_pb2
from services.retention.rules import DueRules, RuleInForce, own_days
from shared.errors import Reason
from shared.terms import Rule, Term, TermKind, lot_of
from tests.unit.retention.test_contract_terms import (
    AT_LEAST,
    LENA,
    LUCA,
    end_of,
    listed,
    order,
    put_in_force,
    rules_of,
    travel,
)
from tests.unit.retention.test_hold_scopes import place
from tests.unit.retention.test_holds import BOB
from tests.unit.retention.test_runs import OPERATOR, bodies
from tests.unit.retention.world import ONE, START, TWO, World, refused

OWN = "night shift/ü"
LOT = lot_of(ONE, OWN)
_COUNTS = timedelta(seconds=12)  # from then on an application's term that was confirmed does
IN_FORCE = contracts_pb2.CONTRACT_TERM_STATE_IN_FORCE


def test_an_applications_term_counts_beside_its_organizations(world: World) -> None:
    whole = put_in_force(world, order(20))
    world.clock.advance(_COUNTS)
    own = put_in_force(world, order(10, name="request-2", application=OWN))
    assert (own.application, own.state, own.effect.before.days) == (OWN, IN_FORCE, 20)
    assert own.effective_at.ToDatetime(tzinfo=UTC) == world.clock.now() + _COUNTS
    assert (rules_of(world, ONE), rules_of(world, LOT)) == ([20], [10])
    assert listed(world, whole.term_id).state == IN_FORCE
    # Another takes the place of the same application's only; one proposal waits at a time for each organization.
    longer = put_in_force(world, order(40, name="request-3", application=OWN))
    world.clock.advance(_COUNTS)
    assert listed(world, own.term_id).state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    assert listed(world, whole.term_id).state == IN_FORCE
    waiting = world.contracts(LENA).SetTerm(order(5, name="request-4", application="another")).term
    with refused(Reason.REASON_CONFLICT):
        world.contracts(LENA).SetTerm(order(5, name="request-5", application=OWN))
    # The same request about another application is another request.
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        world.contracts(LENA).SetTerm(order(5, name="request-4", application=OWN))
    world.contracts(LENA).EndTerm(contracts_pb2.EndTermRequest(term_id=waiting.term_id, reason="no"))
    # Its end gives it back to its organization, not to the default.
    ending = world.contracts(LENA).EndTerm(
        contracts_pb2.EndTermRequest(term_id=longer.term_id, reason="over")
    )
    assert (ending.term.effect.before.days, ending.term.effect.after.days) == (40, 20)
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.contracts(LENA).ConfirmTerm(end_of(longer))
    world.contracts(LUCA).ConfirmTerm(end_of(longer))
    assert rules_of(world, LOT) == [10, 40, 0]
    with refused(Reason.REASON_WRONG_STATE):
        world.contracts(LENA).EndTerm(contracts_pb2.EndTermRequest(term_id=longer.term_id, reason="over"))
    world.settle(1)
    changed = [facts for facts in world.entries("rule.changed") if facts.facts.get("application") == OWN]
    assert [one.facts["term"] for one in changed] == ["AT_MOST 10 days", "AT_MOST 40 days", "AT_MOST 20 days"]


@pytest.mark.parametrize("name", ["a\nb", "a" * 201, "\x7f"])
def test_a_name_that_no_application_can_have_is_refused(world: World, name: str) -> None:
    with refused(Reason.REASON_INVALID_ARGUMENT):
        world.contracts(LENA).SetTerm(order(10, application=name))


def test_it_says_what_it_is_not_about(world: World) -> None:
    for number in (5, 6, 12):
        world.record(ONE, START - timedelta(days=number))
    proposed = world.contracts(LENA).SetTerm(order(10, application=OWN)).term
    said = proposed.effect
    # What the application has among its organization's stays so, and with it its organization's rule.
    assert (said.days_before, said.days_let_go, said.days_kept_longer) == (3, 0, 0)
    world.contracts(LUCA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id))
    world.clock.advance(_COUNTS)
    world.settle(1)
    assert world.entries("term.proposed")[-1].facts["days_before"] == "3"
    for number in (4, 7):
        world.record(LOT, START - timedelta(days=number))
    shorter = world.contracts(LENA).SetTerm(order(6, name="request-2", application=OWN)).term.effect
    assert (shorter.days_before, shorter.days_let_go, shorter.records_let_go) == (3, 1, 1)
    # And an organization's is not about applications that have their own.
    world.contracts(LENA).EndTerm(
        contracts_pb2.EndTermRequest(
            term_id=next(
                one.term_id
                for one in world.contracts(LENA).ListTerms(contracts_pb2.ListTermsRequest()).terms
                if one.state == contracts_pb2.CONTRACT_TERM_STATE_PROPOSED
            ),
            reason="no",
        )
    )
    whole = world.contracts(LENA).SetTerm(order(5, name="request-3")).term.effect
    assert (whole.days_let_go, whole.records_let_go) == (3, 3)


def test_a_run_takes_each_lots_days_and_certifies_them_by_name(world: World) -> None:
    put_in_force(world, order(10, application=OWN))
    put_in_force(world, order(40, kind=AT_LEAST, name="request-2", organization_id=TWO, application=OWN))
    records = {lot: world.record(lot, START) for lot in (ONE, LOT, TWO, lot_of(TWO, OWN))}
    travel(world, START + timedelta(days=10))
    planned = world.runs(OPERATOR).PlanRun(runs_pb2.PlanRunRequest())
    assert [(one.organization_id, one.application, one.term.days) for one in planned.days] == [(ONE, OWN, 10)]
    world.settle(30, until=lambda: bool(world.entries("run.ended")))
    assert set(world.logging.rows) == {records[lot] for lot in records if lot != LOT}
    assert {owner for owner, _ in world.keys.epochs} == {ONE, TWO, lot_of(TWO, OWN)}
    [body] = bodies(world)
    [day] = body["days"]
    assert (day["application"], day["records_removed"], len(day["epoch_key_ids"])) == (OWN, 1, 1)
    [rule] = body["applications"]
    assert (rule["application"], rule["rule"]["days"], body["rule"]["days"]) == (OWN, 10, 30)
    assert body["late_seconds"] >= 43_200  # by the application's own rule: it is noon
    travel(world, START + timedelta(days=30))
    planned = world.runs(OPERATOR).PlanRun(runs_pb2.PlanRunRequest())
    assert [(one.organization_id, one.application) for one in planned.days] == [(ONE, ""), (TWO, "")]
    assert [(one.organization_id, one.application) for one in planned.kept_longer] == [(TWO, OWN)]
    world.settle(30, until=lambda: len(world.entries("run.ended")) == 2)
    assert set(world.logging.rows) == {records[lot_of(TWO, OWN)]}
    assert [one for one in bodies(world)[1:] if "applications" in one] == []


def test_a_hold_keeps_an_applications_records_by_the_epoch_that_they_are_sealed_to(world: World) -> None:
    put_in_force(world, order(10, application=OWN))
    records = [world.record(lot, START) for lot in (ONE, LOT)]
    world.keys.epochs.discard((ONE, START.date()))  # the organization's own is gone: it opens nothing here
    placed = world.holds(BOB).PlaceHold(world.order(*records)).hold  # each asks under an id of the own
    world.settle(2)
    assert world.keys.retained == {placed.hold_id: {records[1]}}
    matching = place(world)
    world.settle(2)
    assert world.keys.retained[matching.hold_id] == {records[1]}


def test_lots_are_named_whose_day_is_another_than_that_of_who_stands_behind_them() -> None:
    day = START.date()

    def rule(days: int) -> RuleInForce:
        return RuleInForce(Term(TermKind.AT_MOST, days), timedelta(hours=2), 1, START)

    default = rule(30)
    own = {
        ONE: rule(10),
        LOT: rule(30),
        lot_of(ONE, "same"): rule(10),
        TWO: rule(30),
        lot_of(TWO, OWN): rule(5),
    }
    due = DueRules(default, default.newest_due_day(START), own, START)
    assert due.own_days == {
        ONE: day - timedelta(days=10),
        LOT: day - timedelta(days=30),
        lot_of(TWO, OWN): day - timedelta(days=5),
    }
    assert due.through(lot_of(ONE, "without a term")) == day - timedelta(days=10)
    assert isinstance(due.of(lot_of(TWO, "without a term")), Rule)
    named = [(one.organization_id, one.application) for one in own_days(due)]
    assert named == [(ONE, ""), (ONE, OWN), (TWO, OWN)]
    assert all(isinstance(one, rules_pb2.OrganizationDue) for one in own_days(due))

"""Contract terms: two people, a stated instant, what it lets go or keeps, and runs that go by them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from kept.retention.v1 import contracts_pb2, erasures_pb2, rules_pb2, runs_pb2
from services.retention.terms.contract_term import Effect, StoredDay, effect_of
from shared.errors import Reason, lease_lapsed
from shared.identity import Caller, CallerKind
from shared.terms import Rule, Term, TermKind
from tests.unit.retention.test_runs import AUDITOR, FIRST, OPERATOR, bodies, runs_of, travel_to_due
from tests.unit.retention.world import ONE, SAFETY, SETTINGS, START, TWO, World, admin, refused, staff

LENA, LUCA = staff(1, "LEGAL"), staff(2, "LEGAL")
LOGGING = Caller(CallerKind.SERVICE, name="logging")
AT_MOST, AT_LEAST = rules_pb2.TERM_KIND_AT_MOST, rules_pb2.TERM_KIND_AT_LEAST


def order(
    days: int, *, kind: "rules_pb2.TermKind.ValueType" = AT_MOST, name: str = "request-1", **rest: str
) -> contracts_pb2.SetTermRequest:
    rest = {"organization_id": ONE, "reference": "Agreement 7, section 4"} | rest
    return contracts_pb2.SetTermRequest(request_id=name, kind=kind, days=days, **rest)


def put_in_force(world: World, request: contracts_pb2.SetTermRequest) -> contracts_pb2.ContractTerm:
    proposed = world.contracts(LENA).SetTerm(request).term
    return world.contracts(LUCA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id)).term


def end_of(term: contracts_pb2.ContractTerm) -> contracts_pb2.ConfirmTermRequest:
    """The second person's word for the end of a term."""
    return contracts_pb2.ConfirmTermRequest(term_id=term.term_id, proposal=contracts_pb2.TERM_PROPOSAL_END)


def listed(world: World, term_id: str) -> contracts_pb2.ContractTerm:
    found = world.contracts(LENA).ListTerms(contracts_pb2.ListTermsRequest()).terms
    return next(each for each in found if each.term_id == term_id)


def rules_of(world: World, organization_id: str) -> list[int]:
    """The days of an organization's rules in the feed; 0 where the default counts again."""
    changes = world.rules(LOGGING).ListRuleChanges(rules_pb2.ListRuleChangesRequest()).changes
    return [change.term.days for change in changes if change.organization_id == organization_id]


def travel(world: World, at: datetime) -> None:
    world.clock.advance(at - world.clock.now())


def certified(world: World) -> dict[str, list[str]]:
    """Days that certificates speak of, by organization."""
    days: dict[str, list[str]] = {}
    for body in bodies(world):
        days.setdefault(str(body["organization_id"]), []).extend(day["day"] for day in body["days"])
    return days


def test_a_term_takes_two_people_and_counts_from_a_stated_instant(world: World) -> None:
    for number in range(12):
        world.record(ONE, START - timedelta(days=number))
    request = order(10)
    proposed = world.contracts(LENA).SetTerm(request).term
    assert proposed.state == contracts_pb2.CONTRACT_TERM_STATE_PROPOSED
    # Of twelve days of data, today's among them, those of ten days ago and before are due by it.
    said = proposed.effect
    assert (said.before.days, said.after.days, said.days_let_go, said.records_let_go) == (30, 10, 2, 2)
    first, last = (START - timedelta(days=11)).date(), (START - timedelta(days=10)).date()
    assert (said.first_day_let_go, said.last_day_let_go) == (first.isoformat(), last.isoformat())
    assert rules_of(world, ONE) == []
    asked = contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id)
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.contracts(LENA).ConfirmTerm(asked)
    tried = (
        world.contracts(LUCA)
        .ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id, validate_only=True))
        .term
    )
    assert (tried.state, tried.effect.days_let_go) == (contracts_pb2.CONTRACT_TERM_STATE_PROPOSED, 2)
    confirmed = world.contracts(LUCA).ConfirmTerm(asked).term
    assert confirmed.state == contracts_pb2.CONTRACT_TERM_STATE_IN_FORCE
    assert confirmed.effective_at.ToDatetime(tzinfo=UTC) == world.clock.now() + timedelta(seconds=2)
    assert rules_of(world, ONE) == [10]
    # Each again changes nothing.
    assert world.contracts(LENA).SetTerm(request).term.term_id == proposed.term_id
    assert world.contracts(LUCA).ConfirmTerm(asked).term == confirmed
    assert rules_of(world, ONE) == [10]
    with refused(Reason.REASON_REQUEST_ID_REUSED):
        world.contracts(LENA).SetTerm(order(11))
    world.settle(2)
    facts = world.entries("term.confirmed")[0].facts
    assert (facts["term"], facts["days_let_go"]) == ("AT_MOST 10 days", "2")
    changed = next(entry for entry in world.entries("rule.changed") if entry.organization_id == ONE)
    assert (changed.facts["term_before"], changed.facts["term"]) == ("AT_MOST 30 days", "AT_MOST 10 days")


def test_what_a_shorter_term_makes_due_goes_with_a_run_of_its_own_and_is_not_late(world: World) -> None:
    for number in range(8):
        world.record(ONE, START + timedelta(days=number))
        world.record(TWO, START + timedelta(days=number))
    travel(world, START + timedelta(days=8))
    put_in_force(world, order(5))
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    (run,) = runs_of(world)
    assert (run.state, run.late_seconds) == (runs_pb2.RUN_STATE_DONE, 0)
    gone = [(FIRST + timedelta(days=number)).isoformat() for number in range(4)]
    assert certified(world) == {ONE: gone}
    (body,) = bodies(world)
    assert (body["rule"]["days"], body["through_day"]) == (5, gone[-1])
    assert sorted(world.keys.epochs) == sorted(
        (owner, FIRST + timedelta(days=number))
        for owner, first in ((ONE, 4), (TWO, 0))
        for number in range(first, 8)
    )
    # On its day the rest goes, for each by its own rule.
    travel(world, START + timedelta(days=30))
    world.settle(60, until=lambda: len(world.entries("run.ended")) == 2)
    assert certified(world)[TWO] == [FIRST.isoformat()]
    assert len(certified(world)[ONE]) == 8


def test_a_longer_term_keeps_what_is_stored_already(world: World) -> None:
    for owner in (ONE, TWO):
        world.record(owner, START)
    term = put_in_force(world, order(40, kind=AT_LEAST))
    assert (term.effect.days_let_go, term.effect.days_kept_longer, term.effect.records_kept_longer) == (
        0,
        1,
        1,
    )
    travel_to_due(world, FIRST)
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert certified(world) == {TWO: [FIRST.isoformat()]}
    assert (ONE, FIRST) in world.keys.epochs
    plan = world.runs(OPERATOR).PlanRun(runs_pb2.PlanRunRequest())
    assert [(each.organization_id, each.records, each.term.days) for each in plan.kept_longer] == [
        (ONE, 1, 40)
    ]
    assert list(plan.days) == []
    travel(world, datetime(2026, 4, 11, 0, 0, 6, tzinfo=UTC))
    world.settle(60, until=lambda: len(world.entries("run.ended")) == 2)
    assert certified(world)[ONE] == [FIRST.isoformat()]
    assert [run.late_seconds for run in runs_of(world)] == [0, 0]


def test_the_end_of_a_term_takes_two_people_and_brings_the_default_back(world: World) -> None:
    world.record(ONE, START)
    term = put_in_force(world, order(90))
    travel(world, START + timedelta(days=40))
    ending = contracts_pb2.EndTermRequest(term_id=term.term_id, reason="Agreement ended")
    said = world.contracts(LENA).EndTerm(ending).term.effect
    assert (said.before.days, said.after.days, said.days_let_go) == (90, 30, 1)
    asked = end_of(term)
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.contracts(LENA).ConfirmTerm(asked)
    with refused(Reason.REASON_WRONG_STATE):
        world.contracts(LUCA).EndTerm(ending)
    assert rules_of(world, ONE) == [90]
    ended = world.contracts(LUCA).ConfirmTerm(asked).term
    assert ended.state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    assert rules_of(world, ONE) == [90, 0]
    world.settle(60, until=lambda: bool(world.entries("run.ended")))
    assert certified(world) == {ONE: [FIRST.isoformat()]}
    assert runs_of(world)[0].late_seconds == 0
    with refused(Reason.REASON_WRONG_STATE):
        world.contracts(LENA).EndTerm(ending)


def test_what_somebody_proposed_who_could_not_any_more_is_proposed_anew(world: World) -> None:
    world.record(ONE, START)
    lena, setting, ending = (
        f"person_{1:026}",
        *(f"/kept.retention.v1.ContractService/{method}" for method in ("SetTerm", "EndTerm")),
    )
    proposed = world.contracts(LENA).SetTerm(order(90)).term
    world.authz.lapsed.add((lena, setting))
    for validate_only in (True, False):
        with refused(Reason.REASON_WRONG_STATE) as caught:
            world.contracts(LUCA).ConfirmTerm(
                contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id, validate_only=validate_only)
            )
        assert caught[0].metadata == {"state": "VOICE_LAPSED"}
    end = contracts_pb2.EndTermRequest(term_id=proposed.term_id, reason="Proposed by who left")
    assert world.contracts(LUCA).EndTerm(end).term.state == contracts_pb2.CONTRACT_TERM_STATE_WITHDRAWN
    world.authz.lapsed.clear()
    term = put_in_force(world, order(90, name="request-2"))
    # The same of its end: nobody has to wait for the proposal to lapse.
    end = contracts_pb2.EndTermRequest(term_id=term.term_id, reason="Agreement ended")
    world.contracts(LENA).EndTerm(end)
    confirm = end_of(term)
    world.authz.lapsed.add((lena, ending))
    with refused(Reason.REASON_WRONG_STATE) as caught:
        world.contracts(LUCA).ConfirmTerm(confirm)
    assert caught[0].metadata == {"state": "VOICE_LAPSED"}
    assert world.contracts(LUCA).EndTerm(end).term.end_proposed_by == f"person_{2:026}"
    with refused(Reason.REASON_SECOND_PERSON_REQUIRED):
        world.contracts(LUCA).ConfirmTerm(confirm)
    ended = world.contracts(staff(3, "LEGAL")).ConfirmTerm(confirm).term
    assert ended.state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    assert rules_of(world, ONE) == [90, 0]


def test_what_is_proposed_while_another_proposal_is_confirmed_is_not_confirmed_with_it(world: World) -> None:
    """What was counted, and whose voice was asked about, is of the proposal that was looked at."""
    world.record(ONE, START)
    term = put_in_force(world, order(90))
    end = contracts_pb2.EndTermRequest(term_id=term.term_id, reason="Agreement ended")
    world.contracts(LENA).EndTerm(end)
    world.clock.advance(timedelta(hours=71))

    def replaced(method: str) -> None:
        if method.endswith("ListStoredDays"):
            world.during = None
            world.clock.advance(timedelta(hours=1))  # the first lapses, and another takes its place
            world.contracts(staff(3, "LEGAL")).EndTerm(end)

    world.during = replaced
    with refused(Reason.REASON_CONFLICT):
        world.contracts(LUCA).ConfirmTerm(end_of(term))
    assert rules_of(world, ONE) == [90]


@pytest.mark.parametrize(
    "proposal", [contracts_pb2.TERM_PROPOSAL_UNSPECIFIED, contracts_pb2.TERM_PROPOSAL_TERM]
)
def test_a_word_for_a_term_said_again_is_not_one_for_its_end(
    world: World, proposal: "contracts_pb2.TermProposal.ValueType"
) -> None:
    world.record(ONE, START)
    proposed = world.contracts(LENA).SetTerm(order(90)).term
    asked = contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id, proposal=proposal)
    with refused(Reason.REASON_WRONG_STATE):
        world.contracts(LUCA).ConfirmTerm(end_of(proposed))  # of which nobody spoke yet
    term = world.contracts(LUCA).ConfirmTerm(asked).term
    end = contracts_pb2.EndTermRequest(term_id=term.term_id, reason="Agreement ended")
    waits = world.contracts(LENA).EndTerm(end).term
    assert world.contracts(LUCA).ConfirmTerm(asked).term == waits
    with refused(Reason.REASON_WRONG_STATE) as caught:
        world.contracts(staff(3, "LEGAL")).ConfirmTerm(asked)
    assert "end waits" in str(caught[0])
    assert (waits.state, rules_of(world, ONE)) == (contracts_pb2.CONTRACT_TERM_STATE_IN_FORCE, [90])
    ended = world.contracts(LUCA).ConfirmTerm(end_of(term)).term
    assert ended.state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    # Either word again is answered with the term as it is.
    assert [world.contracts(LUCA).ConfirmTerm(again).term for again in (asked, end_of(term))] == [ended] * 2
    assert rules_of(world, ONE) == [90, 0]


def test_one_proposal_at_a_time_which_lapses_or_is_withdrawn(world: World) -> None:
    first = world.contracts(LENA).SetTerm(order(10)).term
    with refused(Reason.REASON_CONFLICT):
        world.contracts(LUCA).SetTerm(order(11))
    withdrawn = (
        world.contracts(LENA)
        .EndTerm(contracts_pb2.EndTermRequest(term_id=first.term_id, reason="A slip"))
        .term
    )
    assert withdrawn.state == contracts_pb2.CONTRACT_TERM_STATE_WITHDRAWN
    second = world.contracts(LUCA).SetTerm(order(11)).term
    world.clock.advance(timedelta(hours=72))
    with refused(Reason.REASON_WRONG_STATE):
        world.contracts(LENA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=second.term_id))
    world.settle(2)
    assert listed(world, second.term_id).state == contracts_pb2.CONTRACT_TERM_STATE_WITHDRAWN
    assert [entry.facts["reason"] for entry in world.entries("term.withdrawn")] == ["A slip", "lapsed"]
    third = put_in_force(world, order(12, name="request-3"))
    fourth = put_in_force(world, order(13, name="request-4"))
    assert (listed(world, third.term_id).state, listed(world, third.term_id).ended_at) == (
        contracts_pb2.CONTRACT_TERM_STATE_ENDED,
        fourth.effective_at,
    )
    assert rules_of(world, ONE) == [12, 13]


def test_a_contracts_dates_begin_and_end_its_term(world: World) -> None:
    begins, ends = START.date() + timedelta(days=2), START.date() + timedelta(days=4)
    term = put_in_force(world, order(5, from_day=begins.isoformat(), until_day=ends.isoformat()))
    assert term.state == contracts_pb2.CONTRACT_TERM_STATE_CONFIRMED
    for at, wanted in (
        (datetime(2026, 3, 2, 23, tzinfo=UTC), []),
        (datetime(2026, 3, 3, 1, tzinfo=UTC), [5]),
        (datetime(2026, 3, 5, 23, tzinfo=UTC), [5]),
        (datetime(2026, 3, 6, 1, tzinfo=UTC), [5, 0]),
    ):
        travel(world, at)
        world.settle(1)
        assert rules_of(world, ONE) == wanted, at
    assert listed(world, term.term_id).state == contracts_pb2.CONTRACT_TERM_STATE_ENDED


def test_no_rule_changes_while_a_run_goes_on_and_no_run_begins_right_after_a_change(world: World) -> None:
    world.record(ONE, START)
    world.record(TWO, START)
    travel(world, START + timedelta(days=30))
    world.down = {"DropExpired"}
    world.settle(3)
    (run,) = runs_of(world)
    term = put_in_force(world, order(60))
    # Its keys are destroyed: the row goes too, and is certified by the rule of then.
    assert (term.state, rules_of(world, ONE)) == (contracts_pb2.CONTRACT_TERM_STATE_CONFIRMED, [])
    world.down = set()
    world.settle(30, until=lambda: bool(world.entries("run.ended")))
    assert {owner: len(days) for owner, days in certified(world).items()} == {ONE: 1, TWO: 1}
    world.settle(2)
    assert rules_of(world, ONE) == [60]
    with refused(Reason.REASON_OVERLOADED):
        world.runs(OPERATOR).StartRun(runs_pb2.StartRunRequest())
    world.clock.advance(timedelta(seconds=22))
    assert world.runs(OPERATOR).StartRun(runs_pb2.StartRunRequest()).run.run_id != run.run_id


def test_a_term_ends_with_its_organization(world: World) -> None:
    record = world.record(ONE, START)
    term = put_in_force(world, order(90, kind=AT_LEAST))
    world.erasures(SETTINGS).EraseOrganization(
        erasures_pb2.EraseOrganizationRequest(
            organization_id=ONE,
            account_deletion_id="deletion_" + "1" * 26,
            confirmed_by="member_" + "1" * 26,
            claim_sha256=bytes(32),
        )
    )
    world.settle(20, until=lambda: bool(world.entries("erasure.ended")))
    assert record not in world.logging.rows
    assert listed(world, term.term_id).state == contracts_pb2.CONTRACT_TERM_STATE_ENDED
    assert rules_of(world, ONE) == [90, 0]


@pytest.mark.parametrize("method", ["ListStoredDays"])
def test_without_logging_nothing_is_proposed_or_confirmed(world: World, method: str) -> None:
    proposed = world.contracts(LENA).SetTerm(order(10)).term
    world.down = {method}
    with refused(Reason.REASON_PEER_UNAVAILABLE):
        world.contracts(LUCA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id=proposed.term_id))
    with refused(Reason.REASON_PEER_UNAVAILABLE):
        world.contracts(LUCA).SetTerm(order(10, organization_id=TWO))
    assert (
        rules_of(world, ONE),
        len(world.contracts(LENA).ListTerms(contracts_pb2.ListTermsRequest()).terms),
    ) == ([], 1)


def test_no_term_is_proposed_for_an_organization_that_there_is_not(world: World) -> None:
    world.authz.unknown = {TWO}
    with refused(Reason.REASON_UNKNOWN_ORGANIZATION):
        world.contracts(LENA).SetTerm(order(10, organization_id=TWO))
    proposed = world.contracts(LENA).SetTerm(order(10)).term
    world.authz.refuse = lease_lapsed()
    with refused(Reason.REASON_LEASE_LAPSED):
        world.contracts(LENA).SetTerm(order(10, name="request-2"))
    assert world.contracts(LENA).SetTerm(order(10)).term == proposed, "once proposed, it is not asked again"
    world.settle(1)
    assert [entry.organization_id for entry in world.entries("term.proposed")] == [ONE]


def test_no_term_is_proposed_that_a_run_could_not_say_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.retention.rules.MOST_OWN", 2)
    first = put_in_force(world, order(10))
    second = world.contracts(LENA).SetTerm(order(10, name="request-2", application="night")).term
    third = order(10, name="request-3", organization_id=TWO)
    with refused(Reason.REASON_LIMIT_REACHED) as caught:
        world.contracts(LENA).SetTerm(third)
    assert caught[0].metadata == {"kind": "contract_term", "limit": "2"}
    found = world.contracts(LENA).ListTerms(contracts_pb2.ListTermsRequest()).terms
    assert {each.term_id for each in found} == {first.term_id, second.term_id}
    # What is there is proposed again, and what takes its place needs no other.
    assert world.contracts(LENA).SetTerm(order(10)).term.term_id == first.term_id
    world.contracts(LENA).EndTerm(contracts_pb2.EndTermRequest(term_id=second.term_id, reason="not signed"))
    put_in_force(world, order(20, name="request-4"))
    world.contracts(LENA).SetTerm(third)
    # Names count too: an application's may be long.
    monkeypatch.setattr("services.retention.rules.MOST_OWN", 100)
    monkeypatch.setattr("services.retention.rules.MOST_OWN_BYTES", 300)
    with refused(Reason.REASON_LIMIT_REACHED) as caught:
        world.contracts(LENA).SetTerm(order(10, name="request-5", application="night" * 40))
    assert caught[0].metadata == {"kind": "contract_term_bytes", "limit": "300"}


def test_bad_input_gets_a_named_reason(world: World) -> None:
    for request in (
        order(0),
        order(2),
        order(100_000),
        order(-1),
        order(10, reference=""),
        order(10, organization_id="member_" + "1" * 26),
        order(10, until_day="2026-02-30"),
        order(10, until_day=(START - timedelta(days=1)).date().isoformat()),
        order(10, from_day="2026-05-02", until_day="2026-05-01"),
    ):
        with refused(Reason.REASON_INVALID_ARGUMENT):
            world.contracts(LENA).SetTerm(request)
    for caller in (SAFETY, LOGGING):
        with refused(Reason.REASON_CALLER_NOT_ALLOWED):
            world.contracts(caller).SetTerm(order(10))
    with refused(Reason.REASON_NOT_FOUND):
        world.contracts(LENA).ConfirmTerm(contracts_pb2.ConfirmTermRequest(term_id="term_" + "0" * 26))
    put_in_force(world, order(10))
    put_in_force(world, order(10, organization_id=TWO, name="request-2"))
    own = world.contracts(admin(ONE)).ListTerms(contracts_pb2.ListTermsRequest(organization_id=ONE)).terms
    assert [each.organization_id for each in own] == [ONE]
    with refused(Reason.REASON_WRONG_ORGANIZATION):
        world.contracts(admin(ONE)).ListTerms(contracts_pb2.ListTermsRequest(organization_id=TWO))
    assert len(world.contracts(AUDITOR).ListTerms(contracts_pb2.ListTermsRequest()).terms) == 2


@pytest.mark.parametrize(
    ("before", "after", "let_go", "kept_longer"),
    [
        ((TermKind.AT_MOST, 30), (TermKind.AT_MOST, 30), 0, 0),
        ((TermKind.AT_MOST, 30), (TermKind.AT_MOST, 28), 2, 0),
        ((TermKind.AT_MOST, 30), (TermKind.AT_LEAST, 28), 1, 0),
        ((TermKind.AT_MOST, 28), (TermKind.AT_MOST, 30), 0, 30),
        ((TermKind.AT_MOST, 30), (TermKind.AT_LEAST, 30), 0, 31),
    ],
)
def test_what_a_change_lets_go_or_keeps(
    before: tuple[TermKind, int], after: tuple[TermKind, int], let_go: int, kept_longer: int
) -> None:
    """At noon, of forty days of data; what is due and not gone yet is kept by a longer term."""
    stored = tuple(StoredDay(START.date() - timedelta(days=number), 3, 1) for number in range(40))
    window = timedelta(hours=2)
    effect: Effect = effect_of(Rule(Term(*before), window), Rule(Term(*after), window), stored, START)
    assert (len(effect.let_go), effect.days_kept_longer) == (let_go, kept_longer)
    assert (effect.records_let_go, effect.records_held) == (3 * let_go, let_go)
    assert effect.records_kept_longer == 3 * kept_longer
    assert all(isinstance(day, date) for day in effect.let_go)

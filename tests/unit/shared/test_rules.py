"""Which rule counts for an organization, and what is due by it: own before default, never a guess."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from kept.retention.v1 import rules_pb2
from shared.change_feed import LEASE_DURATION
from shared.errors import KeptError, Reason
from shared.rules import Rules
from shared.terms import Rule, Term, TermKind, lot_of, parts_of, rules_behind
from tests.support.clocks import ManualClock

ORG = "org_a"
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = date(2026, 3, 1)
WINDOW = timedelta(hours=2)


def at_most(days: int) -> Rule:
    return Rule(Term(TermKind.AT_MOST, days), WINDOW)


class Feed:
    """Retention, as far as rules go. None where the default counts again."""

    def __init__(self, clock: ManualClock, *changes: tuple[str, Rule | None, datetime]) -> None:
        self._clock = clock
        self._changes = changes

    def ListRuleChanges(
        self, request: rules_pb2.ListRuleChangesRequest, timeout: float
    ) -> rules_pb2.ListRuleChangesResponse:
        assert timeout < LEASE_DURATION.total_seconds(), "a lease counts from when the poll was sent"
        answer = rules_pb2.ListRuleChangesResponse()
        for number, (organization_id, rule, effective_at) in enumerate(self._changes, 1):
            change = answer.changes.add(version=number, organization_id=organization_id)
            change.effective_at.FromDatetime(effective_at)
            if rule is not None:
                change.term.CopyFrom(rule.term.to_message())
                change.run_window.FromTimedelta(rule.run_window)
        answer.lease.version, answer.lease.complete, answer.lease.reset = len(self._changes), True, True
        answer.lease.answered_at.FromDatetime(self._clock.now())
        answer.lease.duration.FromTimedelta(timedelta(seconds=2))
        return answer


def known(clock: ManualClock, *changes: tuple[str, Rule | None, datetime]) -> Rules:
    feed: Any = Feed(clock, *changes)
    rules = Rules(feed, clock)
    rules.job.step()
    return rules


LONG_AGO = NOON - timedelta(days=100)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("", at_most(30), LONG_AGO)], at_most(30)),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), LONG_AGO)], at_most(7)),
        ([("", at_most(30), LONG_AGO), ("org_b", at_most(7), LONG_AGO)], at_most(30)),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), LONG_AGO), (ORG, None, NOON)], at_most(30)),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), NOON)], at_most(7)),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), NOON + timedelta(microseconds=1))], at_most(30)),
        ([("", at_most(30), NOON + timedelta(seconds=1))], None),
        ([(ORG, None, LONG_AGO)], None),
        ([], None),
    ],
)
def test_the_rule_that_counts(
    changes: list[tuple[str, Rule | None, datetime]], expected: Rule | None
) -> None:
    rules = known(ManualClock(NOON), *changes)
    if expected is None:
        for ask in (rules.at, lambda one, _: rules.due_at(one, DAY)):
            with pytest.raises(KeptError) as refused:
                ask(ORG, NOON)
            assert refused.value.reason == Reason.REASON_LEASE_LAPSED
    else:
        assert rules.at(ORG, NOON) == expected
        assert rules.due_at(ORG, DAY) == expected.due_at(DAY)


@pytest.mark.parametrize(
    ("changes", "is_due"),
    [
        ([("", at_most(9), LONG_AGO)], True),
        ([("", at_most(10), LONG_AGO)], False),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), LONG_AGO)], True),
        ([("", at_most(7), LONG_AGO), (ORG, at_most(30), LONG_AGO)], False),
        # Five seconds from a change either way, both rules must say so: the clock may be wrong.
        ([("", at_most(30), LONG_AGO), ("", at_most(7), NOON - timedelta(seconds=4))], False),
        ([("", at_most(30), LONG_AGO), ("", at_most(7), NOON - timedelta(seconds=6))], True),
        ([("", at_most(7), LONG_AGO), ("", at_most(30), NOON + timedelta(seconds=4))], False),
        ([("", at_most(7), LONG_AGO), (ORG, at_most(30), NOON + timedelta(seconds=4))], False),
        ([("", at_most(30), LONG_AGO), (ORG, at_most(7), LONG_AGO), (ORG, None, NOON)], False),
        ([("", at_most(7), NOON - timedelta(seconds=4))], None),
        ([(ORG, at_most(7), NOON - timedelta(seconds=4))], None),
    ],
)
def test_what_is_destroyed_is_due_by_every_rule_that_may_count(
    changes: list[tuple[str, Rule | None, datetime]], is_due: bool | None
) -> None:
    rules = known(ManualClock(NOON), *changes)
    if is_due is None:
        with pytest.raises(KeptError):
            rules.is_due_by_all(ORG, DAY)
    else:
        assert rules.is_due_by_all(ORG, DAY) is is_due


def test_without_a_lease_nothing_is_due_for_sure() -> None:
    clock = ManualClock(NOON)
    rules = known(clock, ("", at_most(3), LONG_AGO))
    assert rules.is_due_by_all(ORG, DAY)
    clock.advance(timedelta(seconds=2))
    for ask in (rules.due_at, rules.is_due_by_all):
        with pytest.raises(KeptError) as refused:
            ask(ORG, DAY)
        assert refused.value.reason == Reason.REASON_LEASE_LAPSED


NIGHT = lot_of(ORG, "night shift/ü")


def test_an_applications_rule_comes_before_its_organizations_and_that_before_the_default() -> None:
    rules = known(
        ManualClock(NOON),
        ("", at_most(30), LONG_AGO),
        (ORG, at_most(20), LONG_AGO),
        (NIGHT, at_most(5), NOON),
        (lot_of(ORG, "over"), at_most(5), LONG_AGO),
        (lot_of(ORG, "over"), None, NOON - timedelta(seconds=6)),
        (lot_of(ORG, "to come"), at_most(5), NOON + timedelta(seconds=6)),
        (lot_of("org_b", "alone"), at_most(5), LONG_AGO),
    )
    asked = (NIGHT, lot_of(ORG, "over"), lot_of(ORG, "to come"), lot_of(ORG, "none"), lot_of("org_b", "none"))
    assert [rules.at(lot, NOON).term.days for lot in asked] == [5, 20, 20, 20, 30]
    assert rules.applications(ORG) == {"night shift/ü", "over", "to come"}
    assert rules.applications("org_c") == frozenset()
    assert rules.applications_at(ORG, NOON) == {"night shift/ü"}
    assert rules.applications_at(ORG, NOON - timedelta(seconds=6)) == {"over"}
    # What is destroyed must be due by every rule that may count: the organization's did a moment ago.
    assert [rules.is_due_by_all(lot, date(2026, 3, 1)) for lot in (NIGHT, lot_of("org_b", "alone"))] == [
        False,
        True,
    ]


@pytest.mark.parametrize("application", ["a", "night shift", "a/b", "a=b c|d", "ü\U0001f319", "%2F", "."])
def test_a_lots_name_says_whose_it_is(application: str) -> None:
    lot = lot_of(ORG, application)
    assert parts_of(lot) == (ORG, application)
    assert rules_behind(lot) == (lot, ORG, "")
    assert not set(lot) & set(" =|\0"), "these part lots where they are listed"
    assert (parts_of(ORG), rules_behind(ORG), lot_of(ORG)) == ((ORG, ""), (ORG, ""), ORG)

"""The lease protocol in every state that its small model reaches; and without each rule, the shortest way to a broken promise."""

from dataclasses import fields

import pytest

from tests.models.leases import Leases, Rules
from tests.models.search import search
from tests.models.weakenings import SMALL, WEAKENINGS, Weakening


def test_no_order_of_events_breaks_the_promise() -> None:
    found = search(Leases(SMALL), most=200_000)

    assert found.counterexample is None, found.counterexample.trace
    assert found.states > 50_000, "a model in which little can happen shows little"


@pytest.mark.parametrize("weakening", WEAKENINGS.values(), ids=lambda weakening: weakening.rule)
def test_each_rule_is_needed(weakening: Weakening) -> None:
    found = search(weakening.model(), most=200_000)

    assert found.counterexample is not None, f"{found.states} states, and nothing is broken"
    print(found.counterexample.trace)
    assert found.counterexample.broken == weakening.broken


def test_every_rule_is_taken_out_once() -> None:
    assert {field.name for field in fields(Rules)} == set(WEAKENINGS)

"""Figures from counts, against values that others published and against their own definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.safety_review.evaluation.evaluating import ALL, categories_of, compared
from services.safety_review.evaluation.figures import Counts, Share, mcnemar, wilson
from services.safety_review.evaluation.sealing import Item

FEW = st.integers(0, 200)


@pytest.mark.parametrize(
    ("successes", "of", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(successes: int, of: int, low: float, high: float) -> None:
    share = wilson(successes, of)
    assert share.value == successes / of
    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


def test_of_nothing_nothing_is_known() -> None:
    assert wilson(0, 0) == Share(0.0, 0.0, 1.0)
    assert Counts().f1 == Share(0.0, 0.0, 1.0)


@given(FEW, FEW, FEW)
def test_f1_is_the_harmonic_mean_and_lies_in_its_interval(found: int, false: int, missed: int) -> None:
    counts = Counts(found, false, missed)
    f1, precision, recall = counts.f1, counts.precision.value, counts.recall.value
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert math.isclose(f1.value, expected, abs_tol=1e-12)
    assert 0 <= f1.low <= f1.value <= f1.high <= 1


@pytest.mark.parametrize(
    ("only_one", "only_other", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (6, 0, 0.03125), (2, 10, 0.03857421875)],
)
def test_mcnemars_test(only_one: int, only_other: int, p_value: float) -> None:
    # Twice the tail of the binomial distribution with n discordant pairs and one half.
    assert mcnemar(only_one, only_other) == p_value
    assert mcnemar(only_other, only_one) == p_value


def test_a_set_of_thousands_is_compared() -> None:
    assert 0 <= mcnemar(2_000, 3_000) < 1e-40


def test_counts_by_category_and_all_together() -> None:
    items = [Item("fraud", ("a",)), Item("fraud", ("b",)), Item("malware", ("c",))]
    seen = [frozenset({"fraud"}), frozenset[str](), frozenset({"fraud", "malware"})]
    alarms = [frozenset({"malware"}), frozenset[str]()]
    fraud, malware, together = categories_of(items, seen, alarms, {"fraud": (3, 1)})
    assert (fraud.category, fraud.counts) == ("fraud", Counts(1, 1, 1))
    assert (fraud.decided, fraud.upheld.value) == (4, 0.75)
    assert (malware.category, malware.counts, malware.decided) == ("malware", Counts(1, 1, 0), 0)
    assert (together.category, together.counts, together.decided) == (ALL, Counts(2, 1, 1), 4)

    other = [frozenset[str](), frozenset({"fraud"}), frozenset({"malware"})]
    rows = {
        one.category: (one.both, one.only_current, one.only_candidate) for one in compared(items, seen, other)
    }
    assert rows == {"fraud": (0, 1, 1), "malware": (1, 0, 0), ALL: (1, 1, 1)}

"""Figures of detectors with their uncertainty, from counts alone.

Shares have the Wilson score interval (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927),
which keeps its promise for few items and for shares near 0 and 1. F1 is 2 J / (1 + J) of the Jaccard index J = TP / (TP + FP + FN); that
grows with J, so the interval of the share J, carried over, is one of F1. Two versions over the same items are compared by McNemar's test in
its exact form (Q. McNemar, Psychometrika 12, 1947): only items count that one found and the other did not.
"""

import math
from dataclasses import dataclass
from typing import Final

# Standard normal quantile of 0.975: 95 % between the bounds.
_Z: Final = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """A share of what was counted, with its 95 % interval. Of nothing: 0, and the interval 0 to 1."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """What one version of the rules did in one category: items."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    @property
    def precision(self) -> Share:
        """Of what was flagged, how much rightly."""
        return wilson(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Share:
        """Of what should have been flagged, how much was."""
        return wilson(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> Share:
        """The harmonic mean of both."""
        jaccard = wilson(
            self.true_positives, self.true_positives + self.false_positives + self.false_negatives
        )
        return Share(*(2 * bound / (1 + bound) for bound in (jaccard.value, jaccard.low, jaccard.high)))


def wilson(successes: int, of: int) -> Share:
    """The share with its interval."""
    if of == 0:
        return Share(0.0, 0.0, 1.0)
    share = successes / of
    spread = _Z * math.sqrt(share * (1 - share) / of + _Z * _Z / (4 * of * of))
    centre, scale = share + _Z * _Z / (2 * of), 1 + _Z * _Z / of
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == of else (centre + spread) / scale
    return Share(share, low, high)


def mcnemar(only_one: int, only_other: int) -> float:
    """How likely at least such a difference is if both are equally good: the two-sided exact p-value, at most 1."""
    of = only_one + only_other
    tail = sum(math.comb(of, found) for found in range(min(only_one, only_other) + 1))
    # Whole numbers up to the end: 2 ** 5,000 is no float.
    return min(1.0, 2 * tail / 2**of) if of else 1.0

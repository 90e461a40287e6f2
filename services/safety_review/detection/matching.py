"""Which rules an interaction hits, and where in its original text.

What the expressions of all rules need in a text is looked for in one pass over its folded form (`folding`);
only the few expressions whose letters occur run themselves, to find out where. Because nothing is cut into
chunks there are no chunk borders to lose a hit at. A text is looked at in a small, fixed number of `views`.

The work is at most `8 * (1 + expressions * MAX_HITS_PER_EXPRESSION)` passes, each linear in the text. What is
above MAX_CHARACTERS, or was not finished by the engine, is INCOMPLETE: it is never reported as clean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.safety_review.detection.rule_fields import Action
from services.safety_review.detection.rules import Rule, RuleSet
from services.safety_review.detection.views import Folded, Position, View
from shared.linear_patterns import LinearPattern, PatternSet, ScanIncomplete

# Code points of all parts of one interaction together; some 24 MB as UTF-8 at worst, and a second of one
# core.
MAX_CHARACTERS = 6_000_000
# A reviewer needs the first places, not all; and each further one may cost another pass over the text.
MAX_HITS_PER_EXPRESSION = 16


class Verdict(StrEnum):
    CLEAN = "clean"  # all of it was looked at; no rule with the action `flag` hit
    FLAGGED = "flagged"
    INCOMPLETE = "incomplete"  # not all of it was looked at; hits may be present all the same


class IncompleteReason(StrEnum):
    TOO_LARGE = "too_large"
    ENGINE = "engine"
    ESCAPED = "escaped"  # more often than a text is unescaped (texts.MAX_UNESCAPED)


@dataclass(frozen=True, order=True)
class Hit:
    """One place where a rule hit: from `start` up to `end` (exclusive) in the original, unfolded parts."""

    start: Position
    end: Position
    rule_id: str


@dataclass(frozen=True)
class Screening:
    """The result for one interaction. Holds positions only, no text of it: safe to log."""

    verdict: Verdict
    hits: tuple[Hit, ...]
    rules_version: str
    incomplete: IncompleteReason | None = None


class Matcher:
    """A rule set, compiled. Immutable and safe to share between threads; making one takes milliseconds."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._by_id = {rule.id: rule for rule in rules.rules}
        self._owners = tuple(rule.id for rule in rules.rules for _ in rule.expressions)
        expressions = [expression for rule in rules.rules for expression in rule.expressions]
        self._set = PatternSet(expressions, case_sensitive=False)
        self._patterns = tuple(LinearPattern(expression, case_sensitive=False) for expression in expressions)

    def rule(self, rule_id: str) -> Rule:
        """The rule of a hit. Raises KeyError for an id that is not in the set."""
        return self._by_id[rule_id]

    def screen(self, parts: Sequence[str]) -> Screening:
        """Screen one interaction: all its text, in order, whatever the fields it came in."""
        parts, cut = _within_cap(parts)
        hits: set[Hit] = set()
        incomplete = IncompleteReason.TOO_LARGE if cut else None
        try:
            text = Folded(parts)
            if candidates := self._set.candidates(text.haystack()):
                views = list(text.views())
                # Most candidates match nowhere. That is found out over all views at once: between two passes another thread gets its turn.
                together = b"\n".join(view.data for view in views)
                there = [index for index in candidates if self._patterns[index].may_occur(together)]
                for view in views if there else ():
                    hits.update(self._hits(view, there))
        except ScanIncomplete:
            incomplete = IncompleteReason.ENGINE
        if incomplete is not None:
            verdict = Verdict.INCOMPLETE
        elif any(self._by_id[hit.rule_id].action is Action.FLAG for hit in hits):
            verdict = Verdict.FLAGGED
        else:
            verdict = Verdict.CLEAN
        return Screening(verdict, tuple(sorted(hits)), self.rules.version, incomplete)

    def _hits(self, view: View, candidates: Sequence[int]) -> Iterator[Hit]:
        found = [
            (index, span)
            for index in candidates
            for span in self._patterns[index].spans(view.data, limit=MAX_HITS_PER_EXPRESSION)
        ]
        if found:
            places = view.positions([span for _, span in found])
            for (index, _), (start, end) in zip(found, places, strict=True):
                yield Hit(start, end, self._owners[index])


def failed_examples(matcher: Matcher) -> list[str]:
    """What the rules' own examples contradict, a sentence each; empty when every rule does what it says.

    A negative example must not hit its own rule; that another one hits it is not its business.
    """
    failures = []
    for rule in matcher.rules.rules:
        for expected, examples in ((True, rule.positive), (False, rule.negative)):
            for number, example in enumerate(examples, start=1):
                hit = any(one.rule_id == rule.id for one in matcher.screen([example]).hits)
                if hit is not expected:
                    kind = "positive" if expected else "negative"
                    failures.append(
                        f"{rule.id}: {kind} example {number} {'is missed' if expected else 'hits'}"
                    )
    return failures


def _within_cap(parts: Sequence[str]) -> tuple[Sequence[str], bool]:
    """The parts up to MAX_CHARACTERS in all, and whether anything was left out."""
    room = MAX_CHARACTERS
    if sum(map(len, parts)) <= room:
        return parts, False
    kept = []
    for part in parts:
        kept.append(part[:room])
        room -= len(kept[-1])
    return kept, True

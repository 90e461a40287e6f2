"""Which rules an interaction hits, and where in its original text.

What the expressions of all rules need in a text is looked for in one pass over its folded form (`folding`);
only the few expressions whose letters occur run themselves, to find out where. Because nothing is cut into
chunks there are no chunk borders to lose a hit at. A text is looked at in a small, fixed number of views,
whatever it holds:

- its parts joined without anything between (a word streamed as two parts) and joined by a line break (a word
  border);
- where it holds Unicode tag characters, also with those read as the ASCII they stand for;
- where it holds a right-to-left override, also in the order in which it shows.

The work is at most `8 * (1 + expressions * MAX_HITS_PER_EXPRESSION)` passes, each linear in the text. What is
above MAX_CHARACTERS, or was not finished by the engine, is INCOMPLETE: it is never reported as clean.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple

from services.safety_review.folding import (
    OVERRIDE,
    decode_tags,
    folded,
    has_tags,
    original_spans,
    visual_order,
)
from services.safety_review.rules import Action, Rule, RuleSet
from shared.linear_patterns import LinearPattern, PatternSet, ScanIncomplete

# Code points of all parts of one interaction together; some 24 MB as UTF-8 at worst, and a second of one
# core.
MAX_CHARACTERS = 6_000_000
# A reviewer needs the first places, not all; and each further one may cost another pass over the text.
MAX_HITS_PER_EXPRESSION = 16
# Bytes in a row that an expression can need; `rules` refuses literals that are longer.
_REACH: Final = 256


class Verdict(StrEnum):
    CLEAN = "clean"  # all of it was looked at; no rule with the action `flag` hit
    FLAGGED = "flagged"
    INCOMPLETE = "incomplete"  # not all of it was looked at; hits may be present all the same


class IncompleteReason(StrEnum):
    TOO_LARGE = "too_large"
    ENGINE = "engine"


class Position(NamedTuple):
    """A place in the original text: index of the part, offset in it in code points."""

    part: int
    offset: int


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
            if candidates := self._set.candidates(_haystack(parts)):
                for view in _views(parts):
                    hits.update(self._hits(view, candidates))
        except ScanIncomplete:
            incomplete = IncompleteReason.ENGINE
        if incomplete is not None:
            verdict = Verdict.INCOMPLETE
        elif any(self._by_id[hit.rule_id].action is Action.FLAG for hit in hits):
            verdict = Verdict.FLAGGED
        else:
            verdict = Verdict.CLEAN
        return Screening(verdict, tuple(sorted(hits)), self.rules.version, incomplete)

    def _hits(self, view: _View, candidates: Sequence[int]) -> Iterator[Hit]:
        data = folded(view.text)
        found = [
            (index, span)
            for index in candidates
            for span in self._patterns[index].spans(data, limit=MAX_HITS_PER_EXPRESSION)
        ]
        if not found:
            return
        spans = [span for _, span in found]
        if not data.isascii():
            spans = _as_characters(data, spans)
        for (index, _), (start, end) in zip(found, original_spans(view.text, spans), strict=True):
            yield Hit(*view.positions(start, end), self._owners[index])


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


@dataclass(frozen=True)
class _View:
    """One way of reading the parts. `order` leads from its characters to those of the joined parts."""

    text: str
    order: Sequence[int]
    starts: tuple[int, ...]  # where each part begins in the joined text
    lengths: tuple[int, ...]

    def positions(self, start: int, end: int) -> tuple[Position, Position]:
        """The span as positions in the original parts; where the view reorders, the smallest that covers
        it."""
        covered = self.order[start:end]
        opened, closed = self._position(min(covered)), self._position(max(covered))
        # A hit can end on the line break between two parts, which belongs to neither.
        return opened, Position(closed.part, min(closed.offset + 1, self.lengths[closed.part]))

    def _position(self, index: int) -> Position:
        part = bisect_right(self.starts, index) - 1
        return Position(part, index - self.starts[part])


def _haystack(parts: Sequence[str]) -> bytes:
    """What to look in for what the expressions need: all views behind each other.

    The view with line breaks differs from the one without only around them. What an expression needs is letters in a row, and no row of
    them is longer than _REACH.
    """
    if any(OVERRIDE in part or has_tags(part) for part in parts):
        return b"\n".join(folded(view.text) for view in _views(parts))
    pieces = [folded(part) for part in parts]
    if len(pieces) < 2:
        return b"".join(pieces)
    lines = b"\n".join(pieces)
    if len(lines) <= 2 * _REACH * len(pieces):
        return b"".join((*pieces, b"\n", lines))
    breaks = accumulate((len(piece) + 1 for piece in pieces[1:-1]), initial=len(pieces[0]))
    around = (lines[max(0, place - _REACH) : place + 1 + _REACH] for place in breaks)
    return b"\n".join((b"".join(pieces), *around))


def _views(parts: Sequence[str]) -> Iterator[_View]:
    for joint in ("", "\n") if len(parts) > 1 else ("",):
        joined = joint.join(parts)
        starts = tuple(accumulate((len(part) + len(joint) for part in parts[:-1]), initial=0))
        lengths = tuple(map(len, parts))
        for reading in (joined, decode_tags(joined)) if has_tags(joined) else (joined,):
            yield _View(reading, range(len(reading)), starts, lengths)
            if OVERRIDE in reading:
                order = visual_order(reading)
                yield _View("".join(reading[index] for index in order), order, starts, lengths)


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


def _as_characters(data: bytes, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Byte offsets of UTF-8 as character offsets, in one pass."""
    offsets = sorted({offset for span in spans for offset in span})
    characters: dict[int, int] = {}
    previous = count = 0
    for offset in offsets:
        count += len(data[previous:offset].decode("utf-8"))
        characters[offset] = count
        previous = offset
    return [(characters[start], characters[end]) for start, end in spans]

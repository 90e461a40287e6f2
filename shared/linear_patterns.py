"""Regular expressions whose running time is linear in the text, whoever wrote them (RE2).

The one place that touches google-re2, which ships without type stubs; everything above it is typed. A
backtracking engine would let a rule of the form ``(\\w+ ?)+$`` take seconds on thirty letters, and what takes
seconds gets a timeout, and a timeout looks like "nothing found".

Patterns and texts are handed over as UTF-8; spans are byte offsets. On bytes the binding needs no conversion
of offsets between two matches, which on ``str`` costs a pass over the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import re2

# Memory of one automaton in bytes. RE2 rebuilds states when it is full (slower, still linear), and refuses to
# run when it cannot hold a few; 8 MiB is its default.
MAX_AUTOMATON_BYTES = 64 * 1024 * 1024


class PatternError(ValueError):
    """The pattern is not RE2 syntax, or too large; the text says why and quotes no scanned text."""


class ScanIncomplete(RuntimeError):
    """The engine gave up before the end of the text: nothing may be concluded from what it did not report."""


def _options(case_sensitive: bool) -> object:
    options = re2.Options()
    options.log_errors = False  # RE2 would print pattern and text to stderr
    options.case_sensitive = case_sensitive
    options.max_mem = MAX_AUTOMATON_BYTES
    return options


def _reason(error: Exception) -> str:
    """RE2's explanation as text (the binding hands it over as bytes)."""
    first = error.args[0] if error.args else ""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)


# What may stand for the beginning or the end of a text, also where it means something else.
_ANCHORS: Final = ("^", "$", r"\A", r"\z")


class LinearPattern:
    """One compiled pattern. `size` is the number of instructions of its program: time per byte is at most
    that."""

    def __init__(self, pattern: str, *, case_sensitive: bool = True) -> None:
        try:
            self._compiled = re2.compile(pattern, _options(case_sensitive))
        except re2.error as error:
            raise PatternError(_reason(error)) from None
        except UnicodeEncodeError:
            raise PatternError("the pattern holds a lone surrogate") from None
        self.pattern = pattern
        self.size: int = self._compiled.programsize
        self._may_be_anchored = any(sign in pattern for sign in _ANCHORS)

    def may_occur(self, data: bytes) -> bool:
        """False only where the pattern matches in no piece of the data that lines break around it, as a text of its own."""
        return self._may_be_anchored or self._compiled.search(data) is not None

    def spans(self, data: bytes, limit: int | None = None) -> Iterator[tuple[int, int]]:
        """Start and end (exclusive) of the leftmost matches that do not overlap, at most `limit` of them."""
        for count, found in enumerate(self._compiled.finditer(data)):
            if limit is not None and count >= limit:
                return
            start, end = found.span()
            yield int(start), int(end)


class PatternSet:
    """Many patterns, one pass: which of them can occur in a text.

    RE2 derives from each pattern what letters a text must hold for it to match (FilteredRE2), and one automaton looks for those of all
    patterns at once. It is small whatever the patterns are, where the automaton of the patterns themselves (RE2::Set) has a state for
    every mixture of their repetitions and is rebuilt over and over: on 500 rules the first is some sixty times as fast (docs/screening.md).

    RE2 reports a scan that ran out of memory exactly as one that found nothing. A last pattern of our own, three controls that are put
    behind every text, always occurs; where it is missing from the answer the scan did not finish, and the call says so.
    """

    _END: Final = b"\x01\x02\x03"

    def __init__(self, patterns: Sequence[str], *, case_sensitive: bool = True) -> None:
        self._filter = re2.Filter()
        options = _options(case_sensitive)
        try:
            for pattern in (*patterns, r"\x01\x02\x03"):
                self._filter.Add(pattern, options)
            self._filter.Compile()
        except re2.error as error:
            raise PatternError(_reason(error)) from None
        self.count = len(patterns)

    def candidates(self, data: bytes) -> tuple[int, ...]:
        """Indices of the patterns that may occur, ascending: all that do, and some of which only the letters do. Patterns without three
        letters in a row that they need are always among them. Raises ScanIncomplete, never a shortened answer."""
        found: list[int] = sorted(self._filter.Match(data + self._END, True) or ())
        if not found or found[-1] != self.count:
            raise ScanIncomplete("the pattern engine stopped before the end of the text")
        return tuple(found[:-1])

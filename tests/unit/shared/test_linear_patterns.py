"""Patterns on RE2: spans, refusals, and that an engine which gives up is never taken for one that found
nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.linear_patterns import LinearPattern, PatternError, PatternSet, ScanIncomplete

ROOT = Path(__file__).parents[3]


def test_spans_are_byte_offsets_of_leftmost_matches() -> None:
    assert list(LinearPattern("é+").spans("aéé bé".encode())) == [(1, 5), (7, 9)]
    assert list(LinearPattern("a").spans(b"aaaa", limit=2)) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("pattern", ["(", "[a", r"(a)\1", "(?=a)", "a{2000}", "\ud800"])
def test_what_is_not_re2_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        LinearPattern(pattern)
    with pytest.raises((PatternError, UnicodeEncodeError)):
        PatternSet([pattern])


def test_a_set_reports_which_patterns_may_occur() -> None:
    patterns = PatternSet(["dogs", "cats", "b.rds", "[0-9]x"], case_sensitive=False)
    assert patterns.candidates(b"a BIRDS nest and DOGS") == (0, 2, 3)
    assert patterns.candidates(b"") == patterns.candidates(b"fish\n") == (3,), (
        "it needs no three letters in a row"
    )
    assert PatternSet([]).candidates(b"dogs") == ()


@given(
    st.text("abcd \n", max_size=30),
    st.lists(st.sampled_from(("abcd", "a+bcd", "(?:abc|dcb)a", "a.{0,3}bcd", "cab\\sdab"))),
)
def test_what_occurs_is_always_a_candidate(text: str, patterns: list[str]) -> None:
    data = text.encode()
    occurring = {index for index, one in enumerate(patterns) if list(LinearPattern(one).spans(data))}
    assert occurring <= set(PatternSet(patterns).candidates(data))


def test_a_scan_that_stopped_early_is_an_error() -> None:
    class Exhausted:
        """What RE2's binding answers when the automaton does not fit in memory: those that need no letters, or nothing."""

        def __init__(self, answer: list[int] | None) -> None:
            self._answer = answer

        def Match(self, data: bytes, potential: bool) -> list[int] | None:
            return self._answer

    patterns = PatternSet(["[0-9]x", "dogs"])
    for answer in ([0], [], None):
        patterns._filter = Exhausted(answer)
        with pytest.raises(ScanIncomplete):
            patterns.candidates(b"a dog")


def test_backtracking_engines_are_nowhere_near_content() -> None:
    """Linear time by construction: what looks at content imports RE2 through this module, and no `re`."""
    for path in [
        *(ROOT / "services" / "safety_review").glob("*.py"),
        *(ROOT / "shared" / name for name in ("masking.py", "telephone_numbers.py")),
    ]:
        lines = path.read_text().splitlines()
        assert not [line for line in lines if line.startswith(("import re", "from re"))], path

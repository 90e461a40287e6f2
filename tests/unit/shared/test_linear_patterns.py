"""Patterns on RE2: spans, refusals, and that an engine which gives up is never taken for one that found
nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import shared.linear_patterns
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


def test_a_set_reports_which_patterns_occur() -> None:
    patterns = PatternSet(["dog", "cat", "b.rd"], case_sensitive=False)
    assert patterns.occurring(b"a BIRD and a dog") == (0, 2)
    assert patterns.occurring(b"") == ()
    assert patterns.occurring(b"fish\n") == ()


def test_a_scan_that_stopped_early_is_an_error() -> None:
    patterns = PatternSet(["dog"])

    class Exhausted:
        """What RE2's binding answers when the automaton does not fit in memory: an empty list."""

        def Match(self, data: bytes) -> list[int]:
            return []

    patterns._set = Exhausted()
    with pytest.raises(ScanIncomplete):
        patterns.occurring(b"a dog")


def test_a_set_too_large_for_its_memory_never_answers_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for budget in range(2_000, 60_000, 2_000):
        monkeypatch.setattr(shared.linear_patterns, "MAX_AUTOMATON_BYTES", budget)
        try:
            found = PatternSet([r"dog.{0,20}cat", r"cat.{0,20}dog"]).occurring(b"dog and cat" * 50)
        except (PatternError, ScanIncomplete):
            continue
        assert found == (0, 1)


def test_backtracking_engines_are_nowhere_near_content() -> None:
    """Linear time by construction: what looks at content imports RE2 through this module, and no `re`."""
    for path in [
        *(ROOT / "services" / "safety_review").glob("*.py"),
        *(ROOT / "shared" / name for name in ("masking.py", "telephone_numbers.py")),
    ]:
        lines = path.read_text().splitlines()
        assert not [line for line in lines if line.startswith(("import re", "from re"))], path

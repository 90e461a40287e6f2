"""Every interaction of the sample, and of any other at hand, screens the same however its letters are disguised."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from services.safety_review.detection.matching import Matcher, Verdict
from services.safety_review.detection.rules import load_rules

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "deploy" / "local" / "samples" / "interactions.jsonl"
# Beside the project, where it is: prompts that people wrote for everyday applications. None of them breaks the usage policy.
EVERYDAY = ROOT.parent / "shared" / "data" / "user_interactions.jsonl"
MATCHER = Matcher(load_rules())
_LOOK_ALIKES = str.maketrans("aeopcxyABEHKMOPCTX", "аеорсхуАВЕНКМОРСТХ")
_WIDE = {point: point + 0xFEE0 for point in range(0x21, 0x7F)}

DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": lambda text: "".join(char.upper() if len(char.upper()) == 1 else char for char in text),
    "zero-width spaces": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "Cyrillic look-alikes": lambda text: text.translate(_LOOK_ALIKES),
    "full width": lambda text: text.translate(_WIDE),
    "combining marks": lambda text: "".join(f"{char}\u0301" if char.isalpha() else char for char in text),
    "tag characters": lambda text: "".join(
        chr(0xE0000 + ord(char)) if " " <= char <= "~" else char for char in text
    ),
    "right-to-left override": lambda text: "\n".join(
        f"\u202e{line[::-1]}\u202c" if line else line for line in text.split("\n")
    ),
}


def interactions(file: Path) -> list[tuple[str, str]]:
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [(one["prompt"], one["generation"]) for one in lines]


def rules(prompt: str, generation: str) -> list[str]:
    result = MATCHER.screen([prompt, generation])
    assert result.verdict is not Verdict.INCOMPLETE
    return sorted({hit.rule_id for hit in result.hits})


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_what_is_flagged_stays_flagged_and_what_is_clean_stays_clean(disguise: Callable[[str], str]) -> None:
    flagged = 0
    for prompt, generation in interactions(SAMPLE):
        plain = rules(prompt, generation)
        hidden = rules(disguise(prompt), disguise(generation))
        assert hidden == plain, prompt
        flagged += bool(plain)
    assert flagged >= 10


def test_everyday_prompts_are_clean() -> None:
    """252 of them, where they lie beside the project; the harmless ones of the sample everywhere."""
    harmless = [one for one in interactions(SAMPLE) if not rules(*one)]
    everyday = interactions(EVERYDAY) if EVERYDAY.exists() else []
    assert len(harmless) >= 180
    for prompt, generation in harmless + everyday:
        for disguise in DISGUISES.values():
            assert rules(disguise(prompt), disguise(generation)) == []


@pytest.mark.parametrize(
    "text", ["\u200b" * 100_000, "\u202e" * 50_000, "\U000e0020" * 50_000, "\ud800" * 1_000, "x" * 4_000_000]
)
def test_text_that_shows_nothing_or_never_ends_is_screened_to_its_end(text: str) -> None:
    assert rules(text, "") == []
    assert rules(text + "zebracanary", "") == ["test.canary"]

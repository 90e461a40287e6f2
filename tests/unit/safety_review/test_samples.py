"""The sample interactions that the project ships: readable, varied, and flagged exactly where they are meant to be."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from services.safety_review.detection.matching import Matcher, Verdict
from services.safety_review.detection.rules import load_rules
from shared.masking import KINDS, mask

SAMPLES = Path(__file__).parents[3] / "deploy" / "local" / "samples" / "interactions.jsonl"

FLAGGED = Counter(
    {
        "fraud.phishing": 2,
        "fraud.stolen_cards": 1,
        "weapons.explosives": 1,
        "illegal_goods.forged_documents": 1,
        "malware.creation": 1,
        "surveillance.stalking": 1,
        "violence.threats": 1,
        "test.canary": 2,
    }
)


@pytest.fixture(scope="module")
def interactions() -> list[dict[str, str]]:
    lines = SAMPLES.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_line_has_the_fields_and_no_others(interactions: list[dict[str, str]]) -> None:
    assert len(interactions) == 200
    for interaction in interactions:
        assert {"application", "prompt", "generation"} <= set(interaction)
        assert set(interaction) <= {"application", "prompt", "generation", "model", "end_user"}
        assert all(isinstance(value, str) for value in interaction.values())
        assert interaction["prompt"]


def test_they_vary(interactions: list[dict[str, str]]) -> None:
    texts = [one["prompt"] + one["generation"] for one in interactions]
    assert len({one["prompt"] for one in interactions}) == len(interactions)
    assert any(not one["generation"] for one in interactions)
    assert max(len(text.encode()) for text in texts) > 5_000
    scripts = Counter(
        script
        for text in texts
        for script in {unicodedata.name(char, "NONE").split()[0] for char in text if char.isalpha()}
    )
    assert {"LATIN", "CYRILLIC", "ARABIC", "HEBREW", "DEVANAGARI", "CJK", "HIRAGANA", "HANGUL"} <= set(
        scripts
    )


def test_exactly_the_violating_ones_are_flagged(interactions: list[dict[str, str]]) -> None:
    matcher = Matcher(load_rules())
    flagged: Counter[str] = Counter()
    for interaction in interactions:
        result = matcher.screen([interaction["prompt"], interaction["generation"]])
        assert result.verdict is not Verdict.INCOMPLETE
        if result.verdict is Verdict.FLAGGED:
            flagged.update({hit.rule_id for hit in result.hits})
    assert flagged == FLAGGED


def test_one_of_the_test_words_is_disguised(interactions: list[dict[str, str]]) -> None:
    plain = [one for one in interactions if "zebracanary" in one["prompt"]]
    assert len(plain) == 1
    assert FLAGGED["test.canary"] == 2


def test_personal_data_in_them_is_found_by_masking(interactions: list[dict[str, str]]) -> None:
    found: Counter[str] = Counter()
    carrying = 0
    for interaction in interactions:
        masked = mask(interaction["prompt"] + "\n" + interaction["generation"])
        markers = {kind.marker for kind in KINDS if kind.marker in masked}
        found.update(markers)
        carrying += bool(markers)
        assert not [word for word in masked.split() if "@" in word and "example" in word]
    assert carrying >= 25
    assert set(found) == {kind.marker for kind in KINDS}

"""The classifier that is shipped: learns what it is shown, gives numbers that count, and says honestly how good it is."""

import json
import math
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.scorers.__main__ import LinearScorer, main
from deploy.scorers.linear import MOST_CHARACTERS, Model, cross_validated, train
from kept.scorer.v1 import scorer_pb2

THINGS = ("invoices", "passports", "letters", "receipts", "tickets", "licences", "vouchers", "statements")
EXAMPLES = [
    (f"{verb} {kind} {thing} for me", kind == "forged")
    for thing in THINGS
    for kind in ("forged", "printed", "yearly")
    for verb in ("make", "write")
]
TEXTS, VIOLATES = [text for text, _ in EXAMPLES], [violates for _, violates in EXAMPLES]
MODEL = train(TEXTS, VIOLATES)


def test_it_learns_what_it_is_shown() -> None:
    assert MODEL.score("please make forged diplomas") > 0.5 > MODEL.score("please make printed diplomas")
    assert train(TEXTS, VIOLATES).version == MODEL.version, "the same data, the same model"
    with pytest.raises(ValueError, match="both kinds"):
        train(["a"], [True])


def test_its_quality_is_measured_on_what_it_was_not_trained_on() -> None:
    learnable = cross_validated(TEXTS, VIOLATES)
    assert (learnable.violations, learnable.others) == (16, 32)
    assert min(learnable.precision, learnable.recall, learnable.ranks) > 0.9
    noise = cross_validated(TEXTS, [zlib.crc32(text.encode()) % 3 == 0 for text in TEXTS])
    assert noise.ranks < 0.8, "nothing can be learned from what means nothing"


@given(st.text(max_size=300))
def test_every_text_gets_a_number_that_counts(text: str) -> None:
    assert 0 <= MODEL.score(text) <= 1


def test_it_answers_the_contract_and_leaves_out_what_it_cannot_score() -> None:
    request = scorer_pb2.ScoreRequest(
        texts=[
            scorer_pb2.ScoredText(number=7, parts=["make forged", "passports"]),
            scorer_pb2.ScoredText(number=8, parts=["x" * (MOST_CHARACTERS + 1)]),
            scorer_pb2.ScoredText(number=9),
        ]
    )
    response = LinearScorer(MODEL).Score(request, cast(Any, None))
    assert [score.number for score in response.scores] == [7, 9]
    assert response.scores[0].score > 0.5
    assert response.version == MODEL.version


def test_it_is_trained_and_stored_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = tmp_path / "data.jsonl", tmp_path / "model.npz"
    data.write_text("\n".join(json.dumps({"text": text, "violation": kind}) for text, kind in EXAMPLES))
    assert main(["train", str(data), str(file)]) == 0
    said = capsys.readouterr().out
    assert "16 violations, 32 others" in said
    assert "recall 1.00" in said
    assert Model.load(file).version == MODEL.version
    assert not any(word in file.read_bytes() for word in (b"forged", b"passports"))
    np.savez(file.open("wb"), weights=np.full(1 << 18, math.nan), bias=0.0)
    with pytest.raises(ValueError, match="not a model"):
        Model.load(file)

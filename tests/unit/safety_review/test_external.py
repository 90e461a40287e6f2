"""External detectors: what they say counts, and what they do not say is "not screened by" them, never clean."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from kept.safety_review.v1 import detectors_pb2, screening_pb2
from kept.scorer.v1 import scorer_pb2
from services.safety_review.detection import external
from shared.config import ConfigError
from shared.errors import KeptError, Reason
from tests.unit.safety_review.world import CANARY, World

SCORER = {"name": "linear", "category": "fraud", "severity": "critical", "flag_at": 0.8}
OTHER = {"name": "other", "category": "hate", "severity": "low", "flag_at": 0.5}
Answer = Callable[[scorer_pb2.ScoreRequest], scorer_pb2.ScoreResponse]


def scores(*pairs: tuple[int, float]) -> scorer_pb2.ScoreResponse:
    return scorer_pb2.ScoreResponse(
        version="model-1", scores=[scorer_pb2.Score(number=number, score=score) for number, score in pairs]
    )


def by_word(request: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
    """0.9 for what says "bad"."""
    return scores(*((one.number, 0.9 if "bad" in "".join(one.parts) else 0.1) for one in request.texts))


def fails(reason: Any) -> Answer:
    def answer(_: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        raise KeptError(reason, "It does not.")

    return answer


@pytest.fixture
def scored(url: str) -> Iterator[World]:
    made = World(url, scorers=[SCORER], peers={"linear": "127.0.0.1:1"})
    made.scorers["linear"] = by_word
    yield made
    made.close()


def listed(world: World) -> detectors_pb2.Detector:
    return world.staff().detectors.ListDetectors(detectors_pb2.ListDetectorsRequest()).detectors[-1]


def test_a_high_score_flags_and_a_low_one_is_clean(scored: World) -> None:
    assert scored.screen(scored.record("good"), scored.record("bad")) == ["CLEAN", "FLAGGED"]
    (case,) = scored.cases()
    assert (case.category, list(case.flags[0].rule_ids)) == ("fraud", ["external.linear"])
    assert (listed(scored).version, listed(scored).not_screened) == ("model-1", 0)


def test_a_detector_learns_neither_whose_it_is_nor_which_record(scored: World) -> None:
    seen: list[scorer_pb2.ScoreRequest] = []

    def answer(request: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        seen.append(request)
        return by_word(request)

    scored.scorers["linear"] = answer
    record = scored.record("a text")
    scored.screen(record)
    sent = seen[0].SerializeToString()
    assert record.record_id not in sent
    assert record.organization_id.encode() not in sent
    assert [field.name for field, _ in seen[0].texts[0].ListFields()] == ["number", "parts"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: scores((1, math.nan), (2, 0.1)), "not_a_number"),
        (lambda _: scores((1, math.inf), (2, 0.1)), "not_a_number"),
        (lambda _: scores((1, -0.1), (2, 0.1)), "not_a_number"),
        (lambda _: scores((1, 1.1), (2, 0.1)), "not_a_number"),
        (lambda _: scores((1, 0.1), (1, 0.1), (2, 0.1)), "twice"),
        (lambda _: scores((2, 0.1)), "missing"),
        (lambda _: scores((2, 0.1), (3, 0.1), (0, 0.1), (-1, 0.1)), "missing"),
        (fails(Reason.REASON_DEADLINE_EXCEEDED), "late"),
        (fails(Reason.REASON_PEER_UNAVAILABLE), "unreachable"),
        (fails(Reason.REASON_INTERNAL), "unreachable"),
    ],
)
def test_what_is_no_score_is_not_screened_and_never_clean(scored: World, answer: Answer, reason: str) -> None:
    scored.scorers["linear"] = answer
    first, second = scored.record("good"), scored.record("also good")
    (said,) = scored.answers([first, second])
    assert scored.screen(first)[0] == "INCOMPLETE"
    assert said.records[0].not_screened_by == ["linear"]
    whole_call = reason in ("late", "unreachable")
    assert said.records[1].verdict == (3 if whole_call else 1), "one text's fault costs no other its verdict"
    found = listed(scored)
    assert (found.not_screened, set(found.reasons)) == (2 if whole_call else 1, {reason})
    scored.scorers["linear"] = by_word
    assert scored.screen(first, second) == ["CLEAN", "CLEAN"], "looked at again, as the backlog does"
    assert listed(scored).not_screened == 0
    assert scored.count("verdicts") == 2


def test_what_the_rules_flag_is_flagged_whoever_is_silent(scored: World) -> None:
    scored.scorers["linear"] = fails(Reason.REASON_PEER_UNAVAILABLE)
    (said,) = scored.answers([scored.record(CANARY)])
    assert (said.records[0].verdict, list(said.records[0].not_screened_by)) == (2, ["linear"])
    assert listed(scored).not_screened == 1, "visible all the same"


def test_one_that_fails_again_and_again_is_left_alone_for_a_while(scored: World) -> None:
    calls: list[int] = []

    def answer(request: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        calls.append(len(request.texts))
        raise KeptError(Reason.REASON_PEER_UNAVAILABLE, "It does not.")

    scored.scorers["linear"] = answer
    for _ in range(8):
        assert scored.screen(scored.record("good")) == ["INCOMPLETE"]
    assert (len(calls), listed(scored).asked) == (5, False)
    assert dict(listed(scored).reasons) == {"unreachable": 5, "not_asked": 3}
    scored.clock.advance(timedelta(seconds=31))
    assert scored.screen(scored.record("good")) == ["INCOMPLETE"], "one call tries"
    assert scored.screen(scored.record("good")) == ["INCOMPLETE"]
    assert len(calls) == 6
    scored.clock.advance(timedelta(seconds=31))
    scored.scorers["linear"] = by_word
    assert scored.screen(scored.record("good"), scored.record("bad")) == ["CLEAN", "FLAGGED"]
    assert listed(scored).asked


def test_texts_of_any_size_make_no_detector_look_as_if_it_failed(
    scored: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one customer could have it left alone for all."""
    monkeypatch.setattr(external, "_MOST_BYTES", 1_000)
    sizes: list[int] = []

    def answer(request: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        sizes.append(request.ByteSize())
        return by_word(request)

    scored.scorers["linear"] = answer
    batch = ["good", "x" * 1_001, "bad", "y" * 700, "bad " + "z" * 700, "w" * 5_000, "good"]
    (said,) = scored.answers([scored.record(text) for text in batch])
    words = [("CLEAN", []), ("INCOMPLETE", ["linear"]), ("FLAGGED", [])]
    clean, incomplete, flagged = words
    assert [
        (screening_pb2.Verdict.Name(one.verdict).removeprefix("VERDICT_"), list(one.not_screened_by))
        for one in said.records
    ] == [clean, incomplete, flagged, clean, flagged, incomplete, clean]
    assert max(sizes) < 1_100
    assert len(sizes) > 1
    assert (dict(listed(scored).reasons), listed(scored).asked) == ({"too_large": 2}, True)
    for _ in range(8):
        scored.screen(scored.record("x" * 1_001))
    assert scored.screen(scored.record("bad")) == ["FLAGGED"]


def test_all_calls_about_a_batch_have_one_deadline(scored: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "_MOST_BYTES", 100)

    def answer(request: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        scored.clock.advance(timedelta(seconds=1.5))
        return by_word(request)

    scored.scorers["linear"] = answer
    (said,) = scored.answers([scored.record(letter * 90) for letter in "abc"])
    assert [len(one.not_screened_by) for one in said.records] == [0, 0, 1], "two seconds for all of it"
    assert dict(listed(scored).reasons) == {"late": 1}


def test_the_worst_of_what_flags_decides_the_case(url: str) -> None:
    world = World(url, scorers=[OTHER, SCORER], peers={"linear": "127.0.0.1:1", "other": "127.0.0.1:1"})
    world.scorers |= {"linear": by_word, "other": by_word}
    world.screen(world.record("bad"))
    (case,) = world.cases()
    assert (case.category, list(case.flags[0].rule_ids)) == ("fraud", ["external.linear", "external.other"])
    world.close()


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"scorers": [SCORER]}, "no address"),
        ({"scorers": [SCORER, SCORER], "peers": {"linear": "a:1"}}, "different names"),
        ({"scorers": [SCORER | {"name": "rules"}], "peers": {"rules": "a:1"}}, "none is called rules"),
        ({"scorers": [SCORER | {"flag_at": 0}], "peers": {"linear": "a:1"}}, "greater than 0"),
        ({"scorers": [SCORER | {"category": "weather"}], "peers": {"linear": "a:1"}}, "Input should be"),
    ],
)
def test_what_cannot_be_plugged_in_stops_the_start(url: str, told: dict[str, Any], what: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=what):
        World(url, **told)

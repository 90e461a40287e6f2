"""What was looked at and not flagged is gone when the call is over: from memory as from everywhere else."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message

from kept.safety_review.v1 import detectors_pb2
from kept.scorer.v1 import scorer_pb2
from shared.errors import KeptError, Reason
from tests.unit.safety_review.test_external import SCORER, by_word
from tests.unit.safety_review.world import CANARY, World

HALVES = ("quince", "harpsichord")
OF_A_MODULE: list[str] = []


@pytest.fixture
def world(url: str) -> Iterator[World]:
    made = World(url, scorers=[SCORER], peers={"linear": "127.0.0.1:1"})
    made.scorers["linear"] = by_word
    yield made
    made.close()


def _marker() -> str:
    """A word that stands nowhere in this file."""
    return "".join(HALVES)


def _containers() -> list[Any]:
    """All that is here, the newest first."""
    gc.unfreeze()  # what was there before the first test (tests/conftest.py) is where a text would stay longest
    gc.collect()
    return gc.get_objects()[::-1]


def _holders() -> Iterator[str]:
    """What in this process holds a text, bytes or message with the marker, by type; the newest first."""
    text, data = _marker(), _marker().encode()

    def has_it(one: Any) -> bool:
        if isinstance(one, Message):
            return data in one.SerializeToString()
        if isinstance(one, str):
            return len(one) > len(text) and text in one
        return isinstance(one, (bytes, bytearray)) and len(one) > len(data) and data in one

    def holds(container: Any) -> bool:
        """Itself, or what in it the collector does not follow, for it can be in no circle."""
        return any(
            has_it(one)
            or (
                isinstance(one, (dict, list, tuple, set, frozenset)) and not gc.is_tracked(one) and holds(one)
            )
            for one in gc.get_referents(container)
        )

    return (type(container).__name__ for container in _containers() if holds(container))


def test_a_text_is_in_no_object_after_the_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every way on which one comes here, flagged or not, and whatever fails on it."""
    assert world.screen(world.record(f"{_marker()} in a garden")) == ["CLEAN"]
    assert world.screen(world.record(f"{CANARY} {_marker()} in a garden")) == ["FLAGGED"]
    world.staff().detectors.TestDetector(detectors_pb2.TestDetectorRequest(text=f"{_marker()} on a draft"))

    def fails(_: scorer_pb2.ScoreRequest) -> scorer_pb2.ScoreResponse:
        raise KeptError(Reason.REASON_PEER_UNAVAILABLE, "It does not.")

    world.scorers["linear"] = fails
    assert world.screen(world.record(f"{_marker()} in a garden")) == ["INCOMPLETE"]

    def breaks(*_: Any) -> Any:
        raise RuntimeError("the engine broke")

    monkeypatch.setattr("services.safety_review.detection.matching.Folded", breaks)
    assert world.screen(world.record(f"{_marker()} in a garden")) == ["INCOMPLETE"]
    assert list(_holders()) == []


def test_what_stays_would_be_found(world: World) -> None:
    kept: list[Any] = [world.record(f"{_marker()} as a message")]
    assert next(_holders(), None)
    kept[:] = [{"text": f"{_marker()} in a table"}]
    assert next(_holders(), None)
    assert any(one is OF_A_MODULE for one in _containers())

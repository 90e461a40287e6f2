"""Messages of the usual form are read by a short way. It says what the long one says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kept.logging.v1 import interactions_pb2
from services.logging.otlp import messages
from services.logging.otlp.messages import USER, Said
from tests.unit.logging.otlp.exports import any_value

HALF = "half \ud83d"
texts = st.sampled_from(["", "a", "é\n", "\U0001f600", HALF, "\0", "[", "stop", "two words"])
others = st.sampled_from([None, 7, True, [], {}, ["a"], {"a": [1]}])


def mostly(usual: st.SearchStrategy[Any], *rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Usual enough that a list of them is usual as often as not."""
    return st.integers(0, 9).flatmap(lambda number: st.one_of(*rare) if number == 9 else usual)


parts = mostly(
    st.fixed_dictionaries({"type": mostly(st.just("text"), texts, others), "content": mostly(texts, others)}),
    st.fixed_dictionaries({"type": st.just("text"), "content": texts, "more": others}),
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"type": st.sampled_from(["reasoning", "blob"]), "content": texts}),
    texts,
    others,
)
roles = st.sampled_from(["user", "assistant", "tool"])
said = mostly(
    st.fixed_dictionaries(
        {
            "role": mostly(roles, st.sampled_from(["User", "critic"]), others),
            "parts": mostly(st.lists(parts, max_size=3), texts, others),
        },
        optional={"finish_reason": mostly(st.sampled_from(["stop", "length"]), texts, others)},
    ),
    st.fixed_dictionaries({"role": roles, "parts": st.lists(parts), "name": texts}),
    st.fixed_dictionaries({"role": roles, "content": texts}),
    texts,
    others,
)


def read(value: Any, *, is_generation: bool) -> tuple[Any, list[str], bool]:
    found = Said(interactions_pb2.InteractionContent())
    if is_generation:
        found.read_generations(any_value(value))
    else:
        found.read_prompt(any_value(value), USER)
    return found.content, found.finish_reasons, found.altered


def usual(*contents: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "parts": [{"type": "text", "content": one} for one in contents], **more}


@given(mostly(st.lists(said, max_size=3), said), st.booleans(), st.booleans())
@example([usual("a"), usual("b", HALF, finish_reason="stop")], True, True)
@example([usual("a"), usual("b", finish_reason="stop")], True, False)
def test_the_short_way_says_what_the_long_one_says(value: Any, is_json: bool, is_generation: bool) -> None:
    if is_json or r"\ud83d" in repr(value):  # which no text of a structure can be
        value = json.dumps(value)
    short = read(value, is_generation=is_generation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_add_usual", lambda *_: False)
        assert short == read(value, is_generation=is_generation)


@pytest.mark.parametrize(
    ("value", "is_usual"),
    [
        ([], True),
        ([usual()], True),
        ([usual("a", "é"), usual("b", finish_reason="stop")], True),
        ([usual("a", finish_reason="two words")], False),
        ([usual("a"), usual("b", name="ada")], False),
        ([usual("a"), usual(HALF)], False),
        ([usual("a", name="ada", finish_reason="stop")], False),
        ([usual("a") | {"role": "critic"}], False),
        ([usual("a") | {"role": ["user"]}], False),
        ([usual() | {"parts": {}}], False),
        (usual("a"), False),
        ({}, False),
    ],
)
def test_what_goes_the_short_way_and_that_the_rest_leaves_nothing_there(value: Any, is_usual: bool) -> None:
    generations = interactions_pb2.InteractionContent().generations
    reasons: list[str] = []
    assert messages._add_usual(value, generations, reasons) is is_usual
    assert len(generations) == (len(value) if is_usual else 0)
    assert reasons == (["stop"] if is_usual and "stop" in str(value) else [])

"""What was used in a call: by its shape, and never by its words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kept.logging.v1 import interactions_pb2
from kept.logging.v1.interactions_pb2 import Message, Part
from services.logging.otlp.facts import Facts
from services.logging.otlp.spans import interaction_of
from services.logging.records import row_of
from services.logging.usage.features import PLACES, features_of, shape_of
from services.logging.usage.fields import FIGURES
from shared.ids import new_record_id
from tests.unit.logging.otlp.exports import span
from tests.unit.logging.peers import NOON, ORG

USER, TOOL = interactions_pb2.MESSAGE_ROLE_USER, interactions_pb2.MESSAGE_ROLE_TOOL
WORDS = Part(text="image/png tool_call reasoning audio")


def used(prompt: list[Message], generations: list[Message], **changes: object) -> set[str]:
    """The features of an interaction, by name."""
    interaction = interactions_pb2.Interaction(record_id=new_record_id(NOON), organization_id=ORG)
    interaction.content.prompt.extend(prompt)
    interaction.content.generations.extend(generations)
    row = replace(row_of(interaction, received_at=NOON, gateway="edge"), **changes)  # type: ignore[arg-type]
    return {FIGURES[place] for place in PLACES[features_of(row, shape_of(interaction.content))]}


def said(*parts: Part, role: interactions_pb2.MessageRole.ValueType = USER) -> Message:
    return Message(role=role, parts=parts)


@pytest.mark.parametrize(
    ("part", "in_prompt", "in_generation"),
    [
        (WORDS, "", ""),
        (Part(text="x", kind="text"), "", ""),
        (Part(data=b"x", media_type="text/wtf-8"), "", ""),
        (Part(data=b"{}", media_type="application/json", kind="message_fields"), "", ""),
        (Part(data=b"{}", media_type="application/json", kind="attributes"), "", ""),
        (Part(data=b"x", media_type="image/png"), "images", "images"),
        (Part(data=b"{}", media_type="application/json", kind="image_uri"), "images", "images"),
        (Part(data=b"{}", media_type="application/json", kind="audio_file"), "audio", "audio"),
        (Part(data=b"{}", media_type="application/json", kind="video_uri"), "other_data", "other_data"),
        (Part(text="https://x.test", kind="image_url"), "images", "images"),
        (Part(data=b"x", media_type="audio/wav"), "audio", "audio"),
        (Part(data=b"x", kind="input_audio"), "audio", "audio"),
        (Part(data=b"x", media_type="application/pdf"), "other_data", "other_data"),
        (Part(data=b"x", kind="a kind to come"), "other_data", "other_data"),
        (Part(text="x", kind="a kind to come"), "", ""),
        (Part(data=b"{}", media_type="application/json", kind="tool_call"), "", "tool_calls"),
        (Part(data=b"{}", media_type="application/json", kind="tool_result"), "tool_results", ""),
        (Part(data=b"{}", kind="function_call_output"), "tool_results", ""),
        (Part(data=b"{}", media_type="application/json", kind="server_tool_call"), "", "tool_calls"),
        (
            Part(data=b"{}", media_type="application/json", kind="server_tool_call_response"),
            "tool_results",
            "",
        ),
        (Part(text="hm", kind="reasoning"), "", "reasoning"),
        (Part(text="hm", kind="thinking"), "", "reasoning"),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_a_part_is_told_by_its_kind_and_media_type(part: Part, in_prompt: str, in_generation: str) -> None:
    assert used([said(part)], []) == {in_prompt} - {""}
    assert used([], [said(part)]) == {in_generation} - {""}


def test_of_a_prompt_the_last_message_counts() -> None:
    image = said(Part(data=b"x", media_type="image/png"))
    assert used([image, said(WORDS)], []) == set()
    assert used([said(WORDS), image], []) == {"images"}
    assert used([said(WORDS, role=TOOL)], []) == {"tool_results"}


def test_attributes_that_found_no_room_are_no_message() -> None:
    over = Message(parts=[Part(data=b"{}", media_type="application/json", kind="attributes")])
    image = said(Part(data=b"x", media_type="image/png"))
    assert used([said(WORDS, role=TOOL), over], []) == {"tool_results"}
    assert used([said(WORDS), image, over], []) == {"images"}
    assert used([image, said(WORDS), over], []) == set()
    assert used([over], []) == set()
    assert used([image, Message()], []) == set()
    assert used([image, Message(parts=[WORDS])], []) == set()


@pytest.mark.parametrize(
    ("said_last", "answered", "features"),
    [
        ({"role": "tool", "parts": [{"type": "tool_call_response", "response": "x"}]}, [], {"tool_results"}),
        ({"role": "user", "parts": [{"type": "uri", "modality": "image", "uri": "x"}]}, [], {"images"}),
        (
            {"role": "user", "parts": [{"type": "blob", "modality": "image", "content": "AA=="}]},
            [],
            {"images"},
        ),
        ({"role": "user", "parts": [{"type": "file", "modality": "audio", "file_id": "x"}]}, [], {"audio"}),
        ({"role": "user", "content": "x"}, [{"type": "server_tool_call", "id": "c"}], {"tool_calls"}),
        ({"role": "user", "content": "x"}, [{"type": "text", "content": "y"}], set()),
    ],
    ids=str,
)
def test_a_span_with_the_definitions_of_many_tools_counts_what_was_used(
    said_last: dict[str, object], answered: list[dict[str, object]], features: set[str]
) -> None:
    attributes = {
        "gen_ai.input.messages": [{"role": "user", "content": "before"}, said_last],
        "gen_ai.output.messages": [{"role": "assistant", "parts": answered}],
        "gen_ai.tool.definitions": json.dumps([{"name": "weather", "description": "x" * 5_000}]),
    }
    content = interaction_of(span(1, attributes), Facts(organizations=frozenset({ORG})), "").content
    assert len(content.prompt) == 3
    assert {FIGURES[place] for place in PLACES[shape_of(content)]} == {"attributes"} | features


def test_several_generations_and_attributes_are_features() -> None:
    assert used([], [said(WORDS)]) == set()
    assert used([], [said(WORDS), said(WORDS)]) == {"several_generations"}
    interaction = interactions_pb2.Interaction(record_id=new_record_id(NOON))
    interaction.content.attributes["team"] = "blue"
    assert [FIGURES[place] for place in PLACES[shape_of(interaction.content)]] == ["attributes"]


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({"finish_reason": "tool_use"}, {"tool_calls"}),
        ({"finish_reason": "length"}, {"cut_off"}),
        ({"finish_reason": "content_filter"}, {"filtered"}),
        ({"finish_reason": "stop,content_filter"}, {"filtered"}),
        ({"finish_reason": "length,stop,tool_calls"}, {"cut_off", "tool_calls"}),
        ({"end_user": "u-1"}, {"end_users"}),
        ({"api_key_kind": interactions_pb2.API_KEY_KIND_TRIAL}, {"trial_keys"}),
        ({"finish_reason": "stop"}, set()),
        ({"finish_reason": "a customer's own word"}, set()),
    ],
)
def test_log_data_tell_features_too(changes: dict[str, object], features: set[str]) -> None:
    assert used([], [], **changes) == features


def test_looking_at_what_has_no_content_gives_it_none() -> None:
    interaction = interactions_pb2.Interaction(record_id=new_record_id(NOON))
    assert shape_of(interaction.content) == 0
    assert not interaction.HasField("content")

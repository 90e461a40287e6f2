"""Content events that come as log records: records of their own, found again by their trace and span."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.logging.otlp.events import interaction_of
from services.logging.otlp.facts import Facts
from services.logging.otlp.spans import record_id_of
from tests.unit.logging.otlp.exports import (
    MARKER,
    STARTED,
    chat,
    event,
    export,
    export_events,
    nanoseconds,
    shown,
    stored,
)
from tests.unit.logging.peers import ORG, ZDR
from tests.unit.logging.world import World

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
EVENTS: dict[str, tuple[Any, dict[str, Any], tuple[list[Any], list[Any]]]] = {
    "gen_ai.system.message": ({"content": "Be brief."}, {}, ([("system", ["Be brief."])], [])),
    "gen_ai.user.message": ({"content": "Weather?"}, {}, ([("user", ["Weather?"])], [])),
    "gen_ai.assistant.message": (
        {"tool_calls": [CALL]},
        {},
        ([("assistant", [("tool_call", CALL)])], []),
    ),
    "gen_ai.tool.message": (
        {"id": "c1", "content": "clear"},
        {},
        ([("tool", [("tool_result", {"id": "c1", "content": "clear"})])], []),
    ),
    "gen_ai.choice": (
        {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "Clear."}},
        {},
        ([], [("assistant", ["Clear.", ("message_fields", {"index": 1})])]),
    ),
    "gen_ai.client.inference.operation.details": (
        None,
        {
            "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}],
            "gen_ai.output.messages": [{"role": "assistant", "parts": [], "finish_reason": "length"}],
        },
        ([("system", ["Be brief."]), ("user", ["Weather?"])], [("assistant", [])]),
    ),
    "gen_ai.content.prompt": (None, {"gen_ai.prompt": "Weather?"}, ([("user", ["Weather?"])], [])),
    "gen_ai.content.completion": ("Clear.", {}, ([], [("assistant", ["Clear."])])),
}


@pytest.mark.parametrize("name", EVENTS)
def test_every_content_event_is_a_record(world: World, name: str) -> None:
    body, attributes, (prompt, generations) = EVENTS[name]
    more = attributes | {"gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 5}
    assert export_events(world, event(name, body, more)) == (0, "")
    [record] = stored(world)
    assert (shown(record.content.prompt), shown(record.content.generations)) == (prompt, generations)
    assert (record.model, record.application) == ("m-1", "assistant")
    # Usage is counted on spans only.
    assert (record.prompt_tokens, record.generation_tokens, record.HasField("latency")) == (0, 0, False)
    assert dict(record.content.attributes) == {
        "event.name": name,
        "otel.trace_id": "0" * 31 + "1",
        "otel.span_id": "0" * 15 + "1",
        "gen_ai.usage.input_tokens": "5",
    }


@pytest.mark.parametrize(
    "body",
    ["Weather?", json.dumps({"role": "user", "content": "Weather?"}), {"content": "Weather?"}],
    ids=["text", "JSON", "structure"],
)
def test_an_older_sdk_names_the_event_in_an_attribute(world: World, body: Any) -> None:
    older = event("", body, {"event.name": "gen_ai.user.message"}, trace_id=b"", span_id=b"")
    assert export_events(world, older) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert dict(record.content.attributes) == {"event.name": "gen_ai.user.message"}


SAID_IN_A_BODY = {
    "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}],
    "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Clear."}]}],
    "gen_ai.request.model": "of the body",
    "more": "said",
}


@pytest.mark.parametrize("body", [SAID_IN_A_BODY, json.dumps(SAID_IN_A_BODY)], ids=["structure", "JSON"])
def test_details_that_stand_in_the_body_are_read_where_no_attribute_says_them(
    world: World, body: Any
) -> None:
    known = {
        "gen_ai.request.model": "m-1",
        "gen_ai.output.messages": [{"role": "assistant", "content": "Sunny."}],
    }
    assert export_events(world, event("gen_ai.client.inference.operation.details", body, known)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert shown(record.content.generations) == [("assistant", ["Sunny."])]
    assert (record.model, record.content.attributes["more"]) == ("m-1", "said")


@pytest.mark.parametrize("nothing", ["", [], {}, b"", "[]", '[{"role":"user","parts":[]}]'], ids=repr)
@pytest.mark.parametrize("body", [SAID_IN_A_BODY, json.dumps(SAID_IN_A_BODY)], ids=["structure", "JSON"])
def test_an_attribute_of_details_that_says_nothing_hides_nothing_of_the_body(
    world: World, body: Any, nothing: Any
) -> None:
    known = dict.fromkeys(("gen_ai.input.messages", "gen_ai.output.messages"), nothing) | {"more": ""}
    assert export_events(world, event("gen_ai.client.inference.operation.details", body, known)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert shown(record.content.generations) == [("assistant", ["Clear."])]
    assert record.content.attributes["more"] == "said"


@pytest.mark.parametrize("nothing", ["", [], {}, "[]"], ids=repr)
def test_an_attribute_of_the_oldest_events_that_says_nothing_hides_no_body(
    world: World, nothing: Any
) -> None:
    asked = event("gen_ai.content.prompt", "Weather?", {"gen_ai.prompt": nothing})
    answered = event("gen_ai.content.completion", "Clear.", {"gen_ai.completion": nothing})
    both = event("gen_ai.content.prompt", "the body", {"gen_ai.prompt": "the attribute"})
    assert export_events(world, asked, answered, both) == (0, "")
    said = [shown([*one.content.prompt, *one.content.generations]) for one in stored(world)]
    assert sorted(said) == [
        [("assistant", ["Clear."])],
        [("user", ["Weather?"])],
        [("user", ["the attribute"])],
    ]


def test_a_field_of_the_body_that_says_nothing_takes_no_attributes_place(world: World) -> None:
    body = {"gen_ai.input.messages": "[]", "more": "", "none": False}
    known = {"gen_ai.input.messages": "Weather?", "more": {}, "none": 0}
    assert export_events(world, event("gen_ai.client.inference.operation.details", body, known)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert (record.content.attributes["more"], record.content.attributes["none"]) == ("{}", "0")


@pytest.mark.parametrize("body", ["aside", [{"role": "user", "content": "aside"}], '[{"content":"aside"}]'])
@pytest.mark.parametrize(
    "known",
    [
        {},
        {"gen_ai.output.messages": [{"role": "assistant", "content": "Sunny."}]},
        {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "aside"},
        {"gen_ai.prompt": "aside"},
    ],
)
def test_a_body_of_details_that_is_no_map_is_of_the_prompt(
    world: World, body: Any, known: dict[str, Any]
) -> None:
    assert export_events(world, event("gen_ai.client.inference.operation.details", body, known)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["aside"])]


def test_an_empty_body_hides_nothing(world: World) -> None:
    said = {"gen_ai.event.content": '{"role":"user","content":"Weather?"}'}
    assert export_events(world, event("gen_ai.user.message", {}, said)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]


def test_each_event_is_one_record_however_often_and_in_whatever_batch_it_is_sent(world: World) -> None:
    first = event("gen_ai.user.message", {"content": "one"})
    second = event("gen_ai.user.message", {"content": "two"})
    answer = event("gen_ai.choice", {"message": {"content": "three"}})
    assert export_events(world, first, second) == (0, "")
    world.start()
    assert export_events(world, second, answer, first, first) == (0, "")
    said = [one.content.prompt or one.content.generations for one in stored(world)]
    assert sorted(shown(one)[0][1][0] for one in said) == ["one", "three", "two"]


def test_an_event_and_its_span_are_two_records(world: World) -> None:
    assert export(world, chat(1)) == (0, "")
    assert export_events(world, event("gen_ai.user.message", {"content": "hello"})) == (0, "")
    records = stored(world)
    assert len(records) == 2
    assert {one.content.attributes["otel.span_id"] for one in records} == {"0" * 15 + "1"}
    assert record_id_of(chat(1), ORG) in {one.record_id for one in records}


def test_what_is_no_content_event_or_says_nothing_is_left_aside(world: World) -> None:
    nothing = [
        event("gen_ai.user.message", {"role": "user"}),
        event("gen_ai.user.message"),
        event("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"role": "assistant"}}),
        event("gen_ai.client.inference.operation.details", None, {"gen_ai.request.model": "m"}),
        event("gen_ai.evaluation.result", {"content": "x"}),
        event("", "a line of a program's log"),
    ]
    assert export_events(world, *nothing, event("gen_ai.user.message", {"content": "kept"})) == (0, "")
    assert len(stored(world)) == 1


def test_an_event_without_a_time_of_its_own_has_the_one_when_it_was_seen(world: World) -> None:
    seen = event(
        "gen_ai.user.message",
        {"content": "x"},
        time_unix_nano=0,
        observed_time_unix_nano=nanoseconds(STARTED),
    )
    never = event("gen_ai.user.message", {"content": "x"}, time_unix_nano=0)
    assert export_events(world, seen, never) == (1, "rejected: NO_START_TIME 1")
    [record] = stored(world)
    assert record.created_at.ToDatetime(STARTED.tzinfo) == STARTED


def test_bad_events_never_cost_a_good_one(world: World) -> None:
    rejected = export_events(
        world,
        event("gen_ai.user.message", {"content": MARKER}, time_unix_nano=2**63),
        event("gen_ai.user.message", {"content": MARKER}, {"user.id": "u" * 129}),
        event("gen_ai.user.message", {"content": "good\0"}),
    )
    assert rejected == (2, "rejected: INVALID_ARGUMENT 1, RECORD_FROM_FUTURE 1")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["good\0"])]


def test_ids_that_are_none_are_as_if_they_were_not_there(world: World) -> None:
    """OTLP, logs.proto: receivers should assume that the record belongs to no trace."""
    said = {"content": "Weather?"}
    exported = export_events(
        world,
        event("gen_ai.user.message", said, trace_id=b"short"),
        event("gen_ai.user.message", said, trace_id=bytes(16), span_id=bytes(8)),  # the same once more
        event("gen_ai.user.message", said, span_id=b"\0" * 8),
    )
    assert exported == (0, "")
    records = stored(world)
    assert [shown(one.content.prompt) for one in records] == [[("user", ["Weather?"])]] * len(records)
    assert {"otel.trace_id" in one.content.attributes for one in records} == {True, False}
    assert not any(
        "otel.span_id" in one.content.attributes and "otel.trace_id" not in one.content.attributes
        for one in records
    )


def test_what_zero_data_retention_forbids_is_not_stored_of_an_event_either(world: World) -> None:
    said = event("gen_ai.user.message", {"content": MARKER})
    assert export_events(world, said, resource={"kept.organization_id": ZDR}) == (0, "")
    [record] = stored(world, ZDR)
    assert not record.has_content


INNER = {"role": "assistant", "content": "Clear.", "tool_calls": [CALL], "id": "m1"}
TOLD = ["Clear.", ("tool_call", CALL)]


@pytest.mark.parametrize(
    ("beside", "parts"),
    [
        ({}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"content": None}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"content": "", "role": ""}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"content": [], "tool_calls": {}}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"tool_calls": None, "id": None}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"content": "Clear."}, [*TOLD, ("message_fields", {"id": "m1"})]),
        ({"id": "c9"}, [*TOLD, ("message_fields", {"id": "c9", "message": {"id": "m1"}})]),
        (
            {"content": "Sunny."},
            ["Sunny.", TOLD[1], ("message_fields", {"id": "m1", "message": {"content": "Clear."}})],
        ),
        (
            {"tool_calls": [{"id": "c2"}]},
            [
                "Clear.",
                ("tool_call", {"id": "c2"}),
                ("message_fields", {"id": "m1", "message": {"tool_calls": [CALL]}}),
            ],
        ),
        ({"tool.result": ""}, [*TOLD, ("message_fields", {"id": "m1", "tool.result": ""})]),
    ],
    ids=str,
)
def test_what_a_choice_says_beside_its_message_hides_nothing_of_it(
    beside: dict[str, Any], parts: list[Any]
) -> None:
    choice = event("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": INNER} | beside)
    one = interaction_of(choice, "gen_ai.choice", Facts(organizations=frozenset({ORG})), "")
    assert one is not None
    assert shown(one.content.generations) == [("assistant", parts)]
    assert one.finish_reason == "stop"


def test_a_choice_whose_message_is_a_text_keeps_it() -> None:
    for beside, parts in (
        ({"content": ""}, ["Clear."]),
        ({"content": "Sunny."}, ["Sunny.", ("message_fields", {"message": {"content": "Clear."}})]),
    ):
        choice = event("gen_ai.choice", {"message": "Clear."} | beside)
        one = interaction_of(choice, "gen_ai.choice", Facts(organizations=frozenset({ORG})), "")
        assert one is not None
        assert shown(one.content.generations) == [("assistant", parts)]


def test_another_message_within_a_choices_is_kept() -> None:
    said = {"content": "Clear.", "id": "m1", "message": "within"}
    choice = event("gen_ai.choice", {"message": said, "id": "c9"})
    one = interaction_of(choice, "gen_ai.choice", Facts(organizations=frozenset({ORG})), "")
    assert one is not None
    assert shown(one.content.generations) == [
        (
            "assistant",
            ["Clear.", ("message_fields", {"id": "c9", "message": {"id": "m1", "message": "within"}})],
        )
    ]

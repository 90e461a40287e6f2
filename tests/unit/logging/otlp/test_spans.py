"""What a GenAI span becomes: every form of content that is in use, and the log data."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import partial
from typing import Any

import pytest
from opentelemetry.proto.resource.v1 import resource_pb2
from prometheus_client import REGISTRY

from kept.logging.v1 import interactions_pb2
from services.logging.otlp import contents
from services.logging.otlp.attributes import take_finish_reason
from services.logging.otlp.facts import Facts, facts_of
from services.logging.otlp.messages import says
from services.logging.otlp.spans import interaction_of
from services.logging.otlp.values import to_json
from shared.ids import is_record_id, record_time
from tests.unit.logging.otlp.exports import (
    RESOURCE,
    STARTED,
    any_value,
    chat,
    export,
    key_values,
    nanoseconds,
    shown,
    span,
    stored,
)
from tests.unit.logging.peers import ORG, OTHER
from tests.unit.logging.world import World

CALL = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris", "days": [1, 2]}}
RESULT = {"type": "tool_call_response", "id": "c1", "response": [{"sky": "clear"}]}
PIXEL = b"\x89PNG\0\xff"
INPUT = [
    {
        "role": "system",
        "parts": [{"type": "text", "content": "Be brief."}, {"type": "text", "content": "Be kind."}],
    },
    {
        "role": "user",
        "parts": [
            {"type": "text", "content": "Weather?\n"},
            {
                "type": "uri",
                "modality": "image",
                "mime_type": "image/png",
                "uri": "https://example.org/a.png",
            },
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "content": base64.b64encode(PIXEL).decode(),
            },
            {"type": "x_future", "nested": {"a": [None, True, 1.5]}},
        ],
    },
    {"role": "assistant", "parts": [CALL]},
    {"role": "tool", "parts": [RESULT]},
]
OUTPUT = [
    {
        "role": "assistant",
        "parts": [{"type": "reasoning", "content": "think"}, {"type": "text", "content": "Clear."}],
        "finish_reason": "stop",
    }
]
SHOWN_INPUT = [
    ("system", ["Be brief.", "Be kind."]),
    (
        "user",
        [
            "Weather?\n",
            ("image_uri", INPUT[1]["parts"][1]),  # type: ignore[index]
            ("image", "image/png", PIXEL),
            ("x_future", INPUT[1]["parts"][3]),  # type: ignore[index]
        ],
    ),
    ("assistant", [("tool_call", CALL)]),
    ("tool", [("tool_result", RESULT)]),
]
SHOWN_OUTPUT = [("assistant", [("reasoning", "think"), "Clear."])]


@pytest.mark.parametrize("as_json", [True, False], ids=["JSON", "structures"])
def test_message_attributes_come_whole_and_in_order(world: World, as_json: bool) -> None:
    write: Any = json.dumps if as_json else any_value
    instructions = [{"type": "text", "content": "You are a bot."}, {"type": "text", "content": "In French."}]
    assert export(
        world,
        span(
            1,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.system_instructions": write(instructions),
                "gen_ai.input.messages": write(INPUT),
                "gen_ai.output.messages": write(OUTPUT),
            },
        ),
    ) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("system", ["You are a bot.", "In French."]), *SHOWN_INPUT]
    assert shown(record.content.generations) == SHOWN_OUTPUT
    assert record.finish_reason == "stop"


def test_the_older_indexed_attributes_come_whole(world: World) -> None:
    said = {
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Weather?",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.2.role": "assistant",
        "gen_ai.prompt.2.tool_calls.1.name": "second",
        "gen_ai.prompt.2.tool_calls.0.id": "c1",
        "gen_ai.prompt.2.tool_calls.0.name": "weather",
        "gen_ai.prompt.2.tool_calls.0.arguments": '{"city":"Paris"}',
        "gen_ai.prompt.10.role": "tool",
        "gen_ai.prompt.10.tool_call_id": "c1",
        "gen_ai.prompt.10.content": "clear",
        "gen_ai.prompt.prompt_filter_results": "[]",
        "gen_ai.prompt.00.content": "no number",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "Clear.",
        "gen_ai.completion.0.finish_reason": "stop",
        "gen_ai.completion.1.content": "",
        "gen_ai.completion.1.finish_reason": "length",
        "gen_ai.usage.prompt_tokens": 7,
        "gen_ai.usage.completion_tokens": 9,
    }
    assert export(world, span(1, said)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [
        ("system", ["Be brief."]),
        ("user", ["Weather?"]),
        (
            "assistant",
            [
                ("tool_call", {"id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'}),
                ("tool_call", {"name": "second"}),
            ],
        ),
        ("tool", [("tool_result", {"tool_call_id": "c1", "content": "clear"})]),
    ]
    assert shown(record.content.generations) == [("assistant", ["Clear."]), ("assistant", [""])]
    assert (record.prompt_tokens, record.generation_tokens, record.finish_reason) == (7, 9, "stop,length")
    others = {
        key: value for key, value in record.content.attributes.items() if key.startswith("gen_ai.prompt.")
    }
    assert others == {"gen_ai.prompt.prompt_filter_results": "[]", "gen_ai.prompt.00.content": "no number"}


@pytest.mark.parametrize(
    "events",
    [
        [
            (
                "gen_ai.content.prompt",
                {"gen_ai.prompt": json.dumps([{"role": "user", "content": "Weather?"}])},
            ),
            (
                "gen_ai.content.completion",
                {"gen_ai.completion": json.dumps([{"role": "assistant", "content": "Clear."}])},
            ),
        ],
        [
            (
                "gen_ai.user.message",
                {"gen_ai.event.content": json.dumps({"role": "user", "content": "Weather?"})},
            ),
            (
                "gen_ai.choice",
                {
                    "gen_ai.event.content": json.dumps(
                        {"index": 0, "finish_reason": "stop", "message": {"content": "Clear."}}
                    )
                },
            ),
        ],
        [
            ("gen_ai.user.message", {"gen_ai.system": "x", "content": "Weather?"}),
            ("gen_ai.choice", {"index": 0, "message": json.dumps({"content": "Clear."})}),
        ],
        [
            (
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.input.messages": [
                        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]}
                    ],
                    "gen_ai.output.messages": [{"role": "assistant", "parts": ["Clear."]}],
                },
            )
        ],
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": "Weather?"}),
            ("gen_ai.content.completion", {"gen_ai.completion": "Clear."}),
            ("exception", {"exception.message": "nothing of the model's"}),
        ],
    ],
    ids=["content events", "content in one attribute", "a field an attribute", "details", "plain text"],
)
def test_content_in_events_of_the_span_is_the_spans(world: World, events: list[Any]) -> None:
    assert export(world, span(1, {}, events=events)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert shown(record.content.generations) == [("assistant", ["Clear."])]


def test_what_two_forms_say_is_kept_once(world: World) -> None:
    twice = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "hello",
        "gen_ai.completion.0.content": "only here",
    }
    event = ("gen_ai.user.message", {"content": "hello"})
    assert export(world, chat(1, "hello", twice, events=[event])) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["hello"])]
    assert shown(record.content.generations) == [("assistant", ["only here"])]


DETAILS = "gen_ai.client.inference.operation.details"
SYSTEM = {"gen_ai.system_instructions": "Be brief."}
ASKED = {"gen_ai.input.messages": [{"role": "user", "content": "Weather?"}]}
ANSWERED = {"gen_ai.output.messages": [{"role": "assistant", "content": "Clear.", "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("attributes", "events", "again"),
    [
        (SYSTEM | ASKED, [(DETAILS, ANSWERED)], 0),
        (SYSTEM | ANSWERED, [(DETAILS, ASKED)], 0),
        (SYSTEM | ASKED, [(DETAILS, SYSTEM | ASKED | ANSWERED)], 2),
        (SYSTEM, [(DETAILS, SYSTEM | ASKED | ANSWERED)], 1),
        (SYSTEM | ASKED | ANSWERED, [(DETAILS, SYSTEM | ASKED | ANSWERED)], 3),
        (
            SYSTEM,
            [("gen_ai.user.message", {"content": "Weather?"}), (DETAILS, ASKED | ANSWERED)],
            1,
        ),
        (
            SYSTEM,
            [(DETAILS, ANSWERED), ("gen_ai.user.message", {"content": "Weather?"}), ("gen_ai.choice", {})],
            1,
        ),
    ],
)
def test_each_side_is_taken_from_the_first_form_that_says_it(
    attributes: dict[str, Any], events: list[Any], again: int
) -> None:
    left_out = partial(REGISTRY.get_sample_value, "kept_otlp_attributes_left_out_total")
    before = left_out() or 0
    one = interaction_of(span(1, attributes, events=events), Facts(organizations=frozenset({ORG})), "")
    assert shown(one.content.prompt) == [("system", ["Be brief."]), ("user", ["Weather?"])]
    assert shown(one.content.generations) == [("assistant", ["Clear."])]
    assert one.finish_reason == "stop"
    assert (left_out() or 0) - before == again


@pytest.mark.parametrize(("before", "said"), [(ASKED, 0), (SYSTEM | ASKED, 1), (SYSTEM, 1)])
def test_instructions_of_an_event_are_kept_once(before: dict[str, Any], said: int) -> None:
    events = [
        ("gen_ai.system.message", {"content": "Be brief."}),
        ("gen_ai.user.message", {"content": "Weather?"}),
    ]
    left_out = partial(REGISTRY.get_sample_value, "kept_otlp_attributes_left_out_total")
    count = left_out() or 0
    one = interaction_of(span(1, before, events=events), Facts(organizations=frozenset({ORG})), "")
    assert sorted(shown(one.content.prompt)) == [("system", ["Be brief."]), ("user", ["Weather?"])]
    assert (left_out() or 0) - count == said + (before is not SYSTEM)


def test_instructions_that_only_the_details_say_and_two_events_of_one_form_are_kept() -> None:
    more = {"gen_ai.input.messages": [{"role": "user", "content": "And tomorrow?"}]}
    facts = Facts(organizations=frozenset({ORG}))
    one = interaction_of(span(1, ASKED, events=[(DETAILS, SYSTEM | ANSWERED)]), facts, "")
    assert shown(one.content.prompt) == [("user", ["Weather?"]), ("system", ["Be brief."])]
    two = interaction_of(span(1, {}, events=[(DETAILS, ASKED), (DETAILS, more | ANSWERED)]), facts, "")
    assert shown(two.content.prompt) == [("user", ["Weather?"]), ("user", ["And tomorrow?"])]
    assert len(two.content.generations) == 1


@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.content.prompt", "gen_ai.choice"])
def test_what_an_event_without_a_message_says_hides_no_other_form(name: str) -> None:
    facts = Facts(organizations=frozenset({ORG}))
    left_out = partial(REGISTRY.get_sample_value, "kept_otlp_attributes_left_out_total")
    before = left_out() or 0
    events = [(name, {"mid": "m1"}), (DETAILS, ASKED | ANSWERED)]
    one = interaction_of(span(1, {}, events=events), facts, "")
    said = shown([*one.content.prompt, *one.content.generations])
    beside = ("assistant" if name == "gen_ai.choice" else "user", [("message_fields", {"mid": "m1"})])
    assert sorted(said, key=str) == sorted(
        [beside, ("user", ["Weather?"]), ("assistant", ["Clear."])], key=str
    )
    assert (left_out() or 0) == before


def test_all_that_several_details_say_otherwise_is_kept() -> None:
    taken = {f"{DETAILS}.y": "the span's"}
    events = [(DETAILS, {"x": said, "y": said}) for said in ("a", "b", "b", "c", "a", "d")]
    one = interaction_of(
        span(1, {"x": "a"} | taken, events=events), Facts(organizations=frozenset({ORG})), ""
    )
    kept = {key: value for key, value in one.content.attributes.items() if not key.startswith("otel.")}
    assert kept == taken | {
        "x": "a",
        "y": "a",
        f"{DETAILS}.x": "b",
        f"{DETAILS}.x.2": "c",
        f"{DETAILS}.x.3": "d",
        f"{DETAILS}.y.2": "b",
        f"{DETAILS}.y.3": "c",
        f"{DETAILS}.y.4": "d",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (DETAILS, {"gen_ai.prompt.0.role": "user"}),
        (DETAILS, {"gen_ai.completion.0.role": "assistant"}),
        (DETAILS, {"gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "Be brief."}),
        (DETAILS, {"gen_ai.input.messages": "[]", "gen_ai.prompt": ""}),
        ("gen_ai.user.message", {"role": "user"}),
        ("gen_ai.choice", {"role": "assistant", "mid": "m1"}),
    ],
    ids=str,
)
def test_work_grows_linearly_with_events_counted_in_messages(
    monkeypatch: pytest.MonkeyPatch, name: str, said: dict[str, Any]
) -> None:
    looked_at = 0

    def counted(message: interactions_pb2.Message) -> bool:
        nonlocal looked_at
        looked_at += 1
        return says(message)

    monkeypatch.setattr(contents, "says", counted)
    seen = []
    for times in (50, 100, 200):
        looked_at = 0
        interaction_of(span(1, {}, events=[(name, said)] * times), Facts(organizations=frozenset({ORG})), "")
        seen.append(looked_at)
    assert 50 <= seen[0] <= 150
    assert seen == [seen[0], 2 * seen[0], 4 * seen[0]]


def test_what_is_said_beside_a_choice_hides_no_indexed_generations() -> None:
    events = [("gen_ai.choice", {"mid": "m1"}), (DETAILS, {"gen_ai.completion.0.content": "Clear."})]
    one = interaction_of(span(1, {}, events=events), Facts(organizations=frozenset({ORG})), "")
    assert [message[1] for message in shown(one.content.generations)] == [
        [("message_fields", {"mid": "m1"})],
        ["Clear."],
    ]


def test_a_message_keeps_what_it_says_beside_its_parts(world: World) -> None:
    said = [
        {"role": "critic", "name": "ada", "parts": [{"type": "text", "content": "no", "cite": [1]}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, "b", 7, {"no": "type"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
        {"role": "assistant", "function_call": {"name": "g", "arguments": "{}"}},
        {"role": "user", "parts": "a text where a list is expected"},
    ]
    assert export(world, chat(1, more={"gen_ai.input.messages": json.dumps(said)})) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [
        (
            "unspecified",
            ["no", ("message_fields", {"role": "critic", "name": "ada", "parts": {"0": {"cite": [1]}}})],
        ),
        ("user", ["a", "b", ("", 7), ("", {"no": "type"})]),
        ("assistant", [("tool_call", {"id": "c", "function": {"name": "f"}})]),
        ("assistant", [("tool_call", {"name": "g", "arguments": "{}"})]),
        ("user", ["a text where a list is expected"]),
    ]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "uri", "modality": "image", "uri": "https://x.test/1"}, "image_uri"),
        ({"type": "uri", "modality": "video", "uri": "https://x.test/1"}, "video_uri"),
        ({"type": "uri", "mime_type": "audio/wav", "uri": "https://x.test/1"}, "audio_uri"),
        ({"type": "uri", "modality": "document", "mime_type": "application/pdf", "uri": "x"}, "uri"),
        ({"type": "uri", "modality": ["image"], "uri": "https://x.test/1"}, "uri"),
        ({"type": "file", "modality": "image", "file_id": "f1"}, "image_file"),
        ({"type": "file", "file_id": "f1"}, "file"),
        ({"type": "blob", "modality": "image", "content": "AAAA"}, "image_blob"),
        (
            {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "no base64"},
            "audio_blob",
        ),
        ({"type": "x_future", "modality": "image"}, "x_future"),
    ],
    ids=str,
)
def test_data_that_are_kept_as_json_say_their_modality_in_their_kind(part: dict[str, Any], kind: str) -> None:
    said = {"gen_ai.input.messages": [{"role": "user", "parts": [part]}]}
    one = interaction_of(span(1, said), Facts(organizations=frozenset({ORG})), "")
    assert shown(one.content.prompt) == [("user", [(kind, part)])]


def test_of_two_equal_keys_the_last_counts() -> None:
    raw = '[{"role":"system","content":"first","content":"last","role":"user"}]'
    one = interaction_of(span(1, {"gen_ai.input.messages": raw}), Facts(organizations=frozenset({ORG})), "")
    assert shown(one.content.prompt) == [("user", ["last"])]


@pytest.mark.parametrize(
    "raw",
    [
        "just text",
        "[",
        '{"a":1}',
        '["a"]',
        "42",
        '[{"role":"user","parts":[NaN]}]',
        '[{"content":1e999}]',
        "",
    ],
)
def test_what_is_no_message_in_json_stays_the_text_that_it_is(world: World, raw: str) -> None:
    assert export(world, chat(1, more={"gen_ai.input.messages": raw}), chat(2, "good")) == (0, "")
    records = stored(world)
    assert sorted(str(shown(one.content.prompt)) for one in records) == sorted(
        [str([("user", [raw])]), str([("user", ["good"])])]
    )


def test_a_tools_own_span_keeps_call_and_result(world: World) -> None:
    said = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.call.arguments": '{"city":"Paris"}',
        "gen_ai.tool.call.result": {"sky": "clear"},
        "gen_ai.usage.input_tokens": 5,
    }
    assert export(world, span(1, said)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [
        ("assistant", [("tool_call", {"name": "weather", "arguments": '{"city":"Paris"}'})])
    ]
    assert shown(record.content.generations) == [
        ("tool", [("tool_result", {"content": {"sky": "clear"}, "name": "weather"})])
    ]
    # Its tokens are those of the calls of the model within it.
    assert record.prompt_tokens == 0


def test_log_data_comes_from_the_attributes(world: World) -> None:
    said = {
        "gen_ai.request.model": "m-1",
        "gen_ai.response.model": "m-1-2026",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34.0,
        "gen_ai.response.finish_reasons": ["stop", "stop"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": True,
        "gen_ai.request.stop_sequences": ["a", "b"],
        "user.id": "someone",
        "enduser.pseudo.id": "pseudonym-1",
        "server.port": 443,
        "kept.other": "ours alone",
    }
    assert export(world, chat(0xABC, more=said)) == (0, "")
    [record] = stored(world)
    assert (record.application, record.model, record.end_user) == ("assistant", "m-1-2026", "pseudonym-1")
    assert (record.prompt_tokens, record.generation_tokens, record.finish_reason) == (12, 34, "stop")
    assert record.latency.ToTimedelta().total_seconds() == 1.5
    assert record.created_at.ToDatetime(STARTED.tzinfo) == STARTED
    assert dict(record.content.attributes) == {
        "otel.trace_id": "0" * 29 + "abc",
        "otel.span_id": "0" * 13 + "abc",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.temperature": "0.5",
        "gen_ai.request.stream": "true",
        "gen_ai.request.stop_sequences": '["a","b"]',
        "user.id": "someone",
        "server.port": "443",
    }


def test_the_id_is_the_spans_start_and_a_hash_of_whose_it_is(world: World) -> None:
    assert export(world, chat(7)) == (0, "")
    [record] = stored(world)
    digest = hashlib.sha256(ORG.encode() + (7).to_bytes(16) + (7).to_bytes(8)).digest()
    bits = int.from_bytes(digest) >> (256 - 74)
    number = int.from_bytes(record.record_id)
    assert is_record_id(record.record_id)
    assert record_time(record.record_id) == STARTED
    assert ((number >> 64 & 0xFFF) << 62) | (number & (2**62 - 1)) == bits
    assert int.from_bytes(record.record_id[:6]) == nanoseconds(STARTED) // 10**6


def test_a_retry_stores_nothing_twice_and_two_customers_ids_are_two_records(world: World) -> None:
    one = chat(1, "first")
    assert export(world, one, one) == (0, "")
    world.start()
    assert export(world, chat(1, "first, and longer")) == (0, "")
    assert export(world, one, resource={"kept.organization_id": OTHER}) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["first"])]
    [others] = stored(world, OTHER)
    assert others.record_id != record.record_id


def test_what_is_no_genai_span_is_left_aside(world: World) -> None:
    plain = span(1, {"http.request.method": "GET", "url.path": "/"}, events=[("exception", {"a": "b"})])
    assert export(world, plain, chat(2)) == (0, "")
    assert len(stored(world)) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([], ""),
        (["stop"], "stop"),
        (["stop", "stop"], "stop"),
        (["stop", "length", "stop"], "stop,length,stop"),
        (["stop"] * 20 + ["length"], "stop,length"),
        (["a" * 40, "b" * 40], "a" * 40),
    ],
)
def test_several_finish_reasons_are_one_line(said: list[str], reason: str) -> None:
    assert take_finish_reason({}, said) == reason
    attributes = {one.key: one.value for one in key_values({"gen_ai.response.finish_reasons": said})}
    assert take_finish_reason(attributes, ["other"] if said else []) == reason


CARD = "my card is 4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("more", "events"),
    [
        ({"gen_ai.input.messages": [{"role": "user", "content": "hi", "finish_reason": CARD}]}, []),
        ({"gen_ai.prompt.0.content": "hi", "gen_ai.prompt.0.finish_reason": CARD}, []),
        ({}, [("gen_ai.user.message", {"content": "hi", "finish_reason": CARD})]),
        ({"gen_ai.output.messages": [{"content": "hi", "finish_reason": CARD}]}, []),
        ({"gen_ai.completion.0.content": "hi", "gen_ai.completion.0.finish_reason": CARD}, []),
        ({}, [("gen_ai.choice", {"finish_reason": CARD, "message": {"content": "hi"}})]),
    ],
    ids=["input", "indexed prompt", "user event", "output", "indexed completion", "choice"],
)
def test_a_text_is_no_finish_reason_and_stays_with_its_message(
    world: World, more: dict[str, Any], events: list[Any]
) -> None:
    """Log data is not sealed, and stays under zero data retention."""
    assert export(world, span(1, more, events=events)) == (0, "")
    [record] = stored(world)
    [message] = shown([*record.content.prompt, *record.content.generations])
    assert message[1] == ["hi", ("message_fields", {"finish_reason": CARD})]
    assert record.finish_reason == ""


@pytest.mark.parametrize("said", [[CARD], [CARD, "stop"], CARD, "two\nlines", [1], []])
def test_what_the_attribute_says_is_log_data_only_where_it_is_a_reason(said: object) -> None:
    known = {"gen_ai.response.finish_reasons": said} | ANSWERED
    one = interaction_of(span(1, known), Facts(organizations=frozenset({ORG})), "")
    assert one.finish_reason == "stop"  # the generation's
    kept = said if isinstance(said, str) else to_json(said)
    assert one.content.attributes["gen_ai.response.finish_reasons"] == kept


def test_reasons_listed_as_json_are_reasons() -> None:
    known = {"gen_ai.response.finish_reasons": '["stop", "length"]'}
    one = interaction_of(span(1, known), Facts(organizations=frozenset({ORG})), "")
    assert one.finish_reason == "stop,length"


LONG = "asked " * 1000


def test_one_attribute_for_all_that_was_said_is_content_of_any_length(world: World) -> None:
    known = {"gen_ai.prompt": LONG, "gen_ai.completion": '[{"role":"assistant","content":"Clear."}]'}
    both = {
        "gen_ai.prompt": "again",
        "gen_ai.prompt.0.content": "asked",
        "gen_ai.completion": "again",
    } | ANSWERED
    assert export(world, span(1, known), span(2, both)) == (0, "")
    first, second = sorted(stored(world), key=lambda one: one.content.attributes["otel.span_id"])
    assert shown(first.content.prompt) == [("user", [LONG])]
    assert shown(first.content.generations) == [("assistant", ["Clear."])]
    assert shown(second.content.prompt) == [("user", ["asked"])]
    assert shown(second.content.generations) == [("assistant", ["Clear."])]
    assert not any(name.startswith("gen_ai") for one in (first, second) for name in one.content.attributes)


def test_a_finish_reason_of_a_prompt_is_content_and_a_generations_is_log_data() -> None:
    said = {
        "gen_ai.input.messages": '[{"role":"assistant","content":"hi","finish_reason":"tool_calls"}]',
        "gen_ai.output.messages": [
            {"content": "a", "finish_reason": "end_turn"},
            {"content": "b", "finish_reason": "x" * 65},
        ],
    }
    one = interaction_of(span(1, said), Facts(organizations=frozenset({ORG})), "")
    assert one.finish_reason == "end_turn"
    assert shown(one.content.prompt) == [
        ("assistant", ["hi", ("message_fields", {"finish_reason": "tool_calls"})])
    ]
    assert shown(one.content.generations) == [
        ("assistant", ["a"]),
        ("assistant", ["b", ("message_fields", {"finish_reason": "x" * 65})]),
    ]


def test_which_key_it_was_and_the_country_of_the_call_go_with_it() -> None:
    key = "apikey_" + "a" * 26
    facts = Facts(organizations=frozenset({ORG}))
    one = interaction_of(chat(1, more={"kept.api_key_id": key, "geo.country.iso_code": "DE"}), facts, "")
    assert (one.api_key_id, one.country) == (key, "DE")
    assert not set(one.content.attributes) & {"kept.api_key_id", "geo.country.iso_code"}
    other = interaction_of(chat(1, more={"geo.country.iso_code": "Germany"}), facts, "")
    assert (other.api_key_id, other.country) == ("", "")
    assert other.content.attributes["geo.country.iso_code"] == "Germany", "of no use to us, and theirs"


def test_the_kind_of_key_goes_with_it() -> None:
    kinds = [
        interaction_of(chat(1, more=said), Facts(organizations=frozenset({ORG})), "").api_key_kind
        for said in ({"kept.api_key_kind": "trial"}, {"kept.api_key_kind": "production"}, {})
    ]
    assert kinds == [
        interactions_pb2.API_KEY_KIND_TRIAL,
        interactions_pb2.API_KEY_KIND_PRODUCTION,
        interactions_pb2.API_KEY_KIND_UNSPECIFIED,
    ]


CANARY = "said in one form only"
EMPTY_PARTS = '[{"role":"user","parts":[]}]'


@pytest.mark.parametrize(
    ("attributes", "events"),
    [
        # A form that says nothing hides none that does.
        ({"gen_ai.input.messages": ""}, [("gen_ai.user.message", {"content": CANARY})]),
        ({"gen_ai.input.messages": EMPTY_PARTS}, [("gen_ai.user.message", {"content": CANARY})]),
        ({"gen_ai.input.messages": "", "gen_ai.prompt.0.content": CANARY}, []),
        ({"gen_ai.prompt.0.role": "user", "gen_ai.prompt": CANARY}, []),
        (
            {"gen_ai.completion.0.finish_reason": "stop", "gen_ai.completion.0.role": "assistant"},
            [("gen_ai.choice", {"message": json.dumps({"content": CANARY})})],
        ),
        ({"gen_ai.output.messages": "[]"}, [("gen_ai.choice", {"message": CANARY})]),
        # What an event says beside its message.
        ({}, [("gen_ai.choice", {"message": "[]", "tool.result": CANARY})]),
        ({}, [("gen_ai.choice", {"tool.result": CANARY})]),
        ({}, [("gen_ai.user.message", {"role": "user", "parts": [CANARY]})]),
        ({}, [("gen_ai.user.message", {"gen_ai.event.content": '{"role":"user"}', "content": CANARY})]),
        ({}, [("gen_ai.client.inference.operation.details", {"gen_ai.tool.definitions": CANARY})]),
        (
            {"gen_ai.tool.definitions": "others"},
            [("gen_ai.client.inference.operation.details", {"gen_ai.tool.definitions": CANARY})],
        ),
        (
            {"gen_ai.agent.name": "one"},
            [("gen_ai.user.message", {"content": "x", "gen_ai.agent.name": CANARY})],
        ),
        # Of one field in two forms, both.
        ({"gen_ai.prompt.0.tool_calls.0.name": CANARY, "gen_ai.prompt.0.tool_calls": "x"}, []),
        ({"gen_ai.prompt.0.tool_calls": CANARY, "gen_ai.prompt.0.tool_calls.0.name": "x"}, []),
    ],
)
def test_nothing_that_is_said_once_is_lost(
    world: World, attributes: dict[str, Any], events: list[Any]
) -> None:
    sent = {"gen_ai.operation.name": "chat"} | attributes
    assert export(world, span(1, sent, events=events)) == (0, "")
    [record] = stored(world)
    assert CANARY.encode() in record.content.SerializeToString()


def test_what_a_spans_events_say_as_it_does_is_said_once(world: World) -> None:
    events = [("gen_ai.user.message", {"gen_ai.system": "x", "content": "Weather?"})]
    assert export(world, span(1, {"gen_ai.system": "x"}, events=events)) == (0, "")
    [record] = stored(world)
    assert shown(record.content.prompt) == [("user", ["Weather?"])]
    assert record.content.attributes["gen_ai.system"] == "x"


def test_an_end_user_may_be_a_number(world: World) -> None:
    assert export(world, chat(1, "x", {"user.id": 12345}), chat(2, "y", {"user.id": 0})) == (0, "")
    assert {record.end_user for record in stored(world)} == {"12345", "0"}


@pytest.mark.parametrize(
    ("attributes", "is_a_call"),
    [
        ({"gen_ai.operation.name": "chat"}, True),
        ({"gen_ai.operation.name": "embeddings"}, True),
        ({"gen_ai.operation.name": "a name to come"}, False),
        ({"gen_ai.operation.name": "a name to come", "gen_ai.request.model": "m"}, True),
        ({"gen_ai.operation.name": "a name to come", "gen_ai.usage.output_tokens": 3}, True),
        ({"gen_ai.operation.name": 7, "gen_ai.request.model": "m"}, True),
        ({"gen_ai.operation.name": "plan", "gen_ai.usage.input_tokens": 3}, False),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.request.model": "m"}, False),
        ({"gen_ai.system": "strands-agents"}, False),
        ({"gen_ai.request.model": "m"}, True),
        ({"gen_ai.usage.input_tokens": 3}, True),
    ],
)
def test_what_is_a_call(attributes: dict[str, Any], is_a_call: bool) -> None:
    no_calls: set[bytes] = set()
    facts = facts_of(resource_pb2.Resource(attributes=key_values(RESOURCE)))
    interaction = interaction_of(span(1, attributes), facts, "", no_calls=no_calls)
    assert (interaction.record_id not in no_calls) is is_a_call

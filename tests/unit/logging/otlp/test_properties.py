"""Whatever a span or an event says, reading it ends, fails for nothing but a named fault, and yields what its contract allows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.logging.otlp import events, spans
from services.logging.otlp.contents import CONTENT_EVENTS
from services.logging.otlp.facts import Facts, Rejected
from services.logging.records import fault_of, fault_of_attributes
from tests.unit.logging.otlp.exports import event, span
from tests.unit.logging.peers import ORG

FACTS = Facts(organizations=frozenset({ORG}))
WORDS = [
    "role",
    "content",
    "parts",
    "type",
    "text",
    "tool_calls",
    "function_call",
    "finish_reason",
    "message",
    "index",
    "name",
    "id",
    "arguments",
    "mime_type",
    "modality",
    "blob",
    "reasoning",
    "tool_call",
    "tool_call_response",
    "user",
    "assistant",
    "tool",
    "system",
    "critic",
    "stop",
    "eA==",
    "YQ==",
]
KEYS = [
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.prompt.0.role",
    "gen_ai.prompt.0.content",
    "gen_ai.prompt.0",
    "gen_ai.prompt.x.y",
    "gen_ai.prompt.0.tool_calls",
    "gen_ai.prompt.0.tool_calls.0.name",
    "gen_ai.prompt.0.tool_calls.x",
    "gen_ai.prompt.0.tool_calls.0",
    "gen_ai.completion.1.content",
    "gen_ai.completion.1.function_call",
    "gen_ai.completion.1.function_call.name",
    "gen_ai.completion.1.finish_reason",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.name",
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.response.finish_reasons",
    "user.id",
    "enduser.pseudo.id",
    "gen_ai.event.content",
    "kept.organization_id",
    "kept.api_key_kind",
    "kept.api_key_id",
    "geo.country.iso_code",
    "kept.altered",
    "otel.span_id",
    "content",
    "role",
    "message",
    "index",
    "tool_calls",
    "a.b",
]
NAMES = sorted(CONTENT_EVENTS)

words = st.one_of(st.sampled_from(WORDS), st.text(st.characters(codec="utf-8"), max_size=8))
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans(), st.sampled_from([0, 1]))
structures: st.SearchStrategy[Any] = st.recursive(
    st.one_of(words, numbers, st.none(), st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)


def written(value: Any) -> str:
    """The value as some program's JSON, NaN, half surrogates and all."""
    return json.dumps(value, default=lambda data: data.decode("latin-1") + "\ud83d")


values = st.one_of(structures, structures.map(written), words)
attributes = st.dictionaries(st.sampled_from(KEYS), values, max_size=10)


def check(interaction: Any) -> None:
    assert type(interaction).FromString(interaction.SerializeToString()) == interaction
    assert fault_of_attributes(interaction.content.attributes) is None
    # What no contract allows is for Ingest to refuse by itself, and is in what is not content: it is never cut or made up.
    if fault_of(interaction) is not None:
        names = (interaction.application, interaction.model, interaction.end_user, interaction.finish_reason)
        assert any(not one.isprintable() or len(one) > 64 for one in names)


def read(make: Callable[[], Any], said: dict[str, Any]) -> None:
    """Reads, and checks what was read. Only what says whose it is can be refused here."""
    try:
        found = make()
    except Rejected:
        found = None
        is_ours = any(key.startswith("kept.") for key in said)
    else:
        is_ours = True
    assert is_ours
    if found is not None:
        check(found)


@given(attributes, st.lists(st.tuples(st.sampled_from(NAMES), attributes), max_size=3))
@example(
    {
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"\\ud83d\\ud83d\\ude00"}]}]'
    },
    [],
)
@example({"gen_ai.input.messages": '[{"content":"' + "[" * 70 + '"}]'}, [])
def test_any_span_is_an_interaction_or_has_a_named_fault(said: dict[str, Any], happened: list[Any]) -> None:
    wire = span(1, said, events=happened).SerializeToString()
    read(lambda: spans.interaction_of(trace_pb2.Span.FromString(wire), FACTS, ""), said)


@given(st.sampled_from(NAMES), st.none() | values, attributes)
def test_any_content_event_is_an_interaction_or_has_a_named_fault(
    name: str, body: Any, said: dict[str, Any]
) -> None:
    wire = event(name, body, said).SerializeToString()
    read(lambda: events.interaction_of(logs_pb2.LogRecord.FromString(wire), name, FACTS, ""), said)

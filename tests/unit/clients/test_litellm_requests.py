"""All that a provider is sent is in the record, what a request says beside its messages too. The real LiteLLM, a provider on loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import kept.litellm
from kept.litellm.messages import add_request
from kept.logging.v1 import interactions_pb2
from tests.support.offline_litellm import WatchedRecorder, callbacks, litellm
from tests.unit.clients.ingest import Ingest
from tests.unit.clients.test_litellm import ORG, SYSTEM, USER, ingest, only, parts, recorder, server

if TYPE_CHECKING:
    from kept.litellm import KeptLogger

__all__ = ["ingest", "recorder", "server"]

pytestmark = pytest.mark.xdist_group("litellm")  # one process is enough to import it

CANARY = "heliotrope-24601"
SPEECH = b"ID3\x04\x00 some sound"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "description": f"weather, {CANARY}", "parameters": SCHEMA},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "responses": {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-4o",
        "output": [
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "fine", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    },
    "messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "fine"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    },
    "rerank": {"id": "1", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {}},
}


class Provider(BaseHTTPRequestHandler):
    """seen: the bodies that it got."""

    seen: list[bytes]

    def do_POST(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = ANSWERS.get(self.path.rpartition("/")[2])
        body = SPEECH if answer is None else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "audio/mpeg" if answer is None else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def seen() -> list[bytes]:
    return []


@pytest.fixture
def provider(seen: list[bytes]) -> Iterator[dict[str, str]]:
    """What a call is given to reach it."""
    server = HTTPServer(("127.0.0.1", 0), type("Seeing", (Provider,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield {"api_base": f"http://127.0.0.1:{server.server_address[1]}", "api_key": "x"}
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def logger(recorder: WatchedRecorder) -> Iterator[KeptLogger]:
    made = kept.litellm.KeptLogger(recorder, ORG)
    with callbacks(made):
        yield made


def said(one: interactions_pb2.Interaction) -> list[tuple[int, list[tuple[str, Any, str]]]]:
    """Role and parts of what went in."""
    return [(message.role, parts(message)) for message in one.content.prompt]


async def _and_what_it_does_later(call: Any, recorder: WatchedRecorder) -> Any:
    answer = await call
    await asyncio.to_thread(recorder.wait)  # it calls back from this loop
    return answer


def test_instructions_of_a_response_are_recorded(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, provider: dict[str, str], seen: list[bytes]
) -> None:
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA}
    litellm.responses(
        model="openai/gpt-4o", input="hello", instructions=f"be {CANARY}", tools=[tool], **provider
    )
    recorder.wait()
    assert CANARY.encode() in seen[0]
    assert said(only(ingest)) == [
        (SYSTEM, [("", f"be {CANARY}", "")]),
        (USER, [("", "hello", "")]),
        (SYSTEM, [("tool_definition", tool, "application/json")]),
    ]
    assert logger.failed == 0


@pytest.mark.parametrize("system", [f"be {CANARY}", [{"type": "text", "text": f"be {CANARY}"}]])
def test_the_system_prompt_of_an_anthropic_message_is_recorded(
    logger: KeptLogger,
    recorder: WatchedRecorder,
    ingest: Ingest,
    provider: dict[str, str],
    seen: list[bytes],
    system: Any,
) -> None:
    call = litellm.anthropic_messages(
        model="anthropic/claude-sonnet-4-5",
        max_tokens=10,
        system=system,
        messages=[{"role": "user", "content": "hello"}],
        **provider,
    )
    asyncio.run(_and_what_it_does_later(call, recorder))
    assert CANARY.encode() in seen[0]
    assert said(only(ingest)) == [(SYSTEM, [("", f"be {CANARY}", "")]), (USER, [("", "hello", "")])]
    assert logger.failed == 0


def test_a_system_message_that_the_provider_has_in_a_field_is_recorded_once(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, provider: dict[str, str], seen: list[bytes]
) -> None:
    messages = [{"role": "system", "content": f"be {CANARY}"}, {"role": "user", "content": "hello"}]
    where = provider | {"api_base": provider["api_base"] + "/v1/messages"}
    litellm.completion(model="anthropic/claude-sonnet-4-5", messages=messages, tools=[TOOL], **where)
    recorder.wait()
    assert json.loads(seen[0])["system"] == [{"type": "text", "text": f"be {CANARY}"}]
    assert said(only(ingest)) == [
        (SYSTEM, [("", f"be {CANARY}", "")]),
        (USER, [("", "hello", "")]),
        (SYSTEM, [("tool_definition", TOOL, "application/json")]),
    ]
    assert logger.failed == 0


def test_tools_and_the_form_of_an_answer_are_recorded(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": CANARY, "schema": SCHEMA}}
    litellm.completion(
        model="gpt-4o",
        messages=[{"role": "user", "content": "hello"}],
        tools=[TOOL, TOOL],
        response_format=form,
        mock_response="{}",
    )
    recorder.wait()
    assert said(only(ingest))[1:] == [
        (SYSTEM, [("tool_definition", TOOL, "application/json")] * 2),
        (SYSTEM, [("response_format", form, "application/json")]),
    ]
    assert logger.failed == 0


def test_what_is_put_in_order_is_recorded(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, provider: dict[str, str]
) -> None:
    documents = [CANARY, {"text": "another"}]
    litellm.rerank(model="cohere/rerank-v3", query="which?", documents=documents, **provider)
    recorder.wait()
    assert said(only(ingest)) == [
        (USER, [("", "which?", "")]),
        (USER, [("document", one, "application/json") for one in documents]),
    ]
    assert logger.failed == 0


def test_speech_is_recorded_as_its_bytes(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, provider: dict[str, str]
) -> None:
    call = litellm.aspeech(model="openai/tts-1", voice="alloy", input="say it", **provider)
    asyncio.run(_and_what_it_does_later(call, recorder))
    one = only(ingest)
    assert said(one) == [(USER, [("", "say it", "")])]
    assert [parts(each) for each in one.content.generations] == [[("audio", SPEECH, "audio/mpeg")]]
    assert logger.failed == 0


@pytest.mark.parametrize(
    "beside",
    [
        {"system": 5, "tools": "none", "functions": [], "documents": type, "prompt": ["hi"]},
        {"system": None, "tools": None, "instructions": ""},
    ],
)
@pytest.mark.parametrize("place", [lambda said: [said], lambda said: [{}, said]])
def test_no_shape_of_a_request_raises(beside: dict[str, Any], place: Callable[[Any], Any]) -> None:
    content = interactions_pb2.InteractionContent()
    add_request(content, "hi", place(beside))
    assert [parts(message) for message in content.prompt if message.role == USER] == [[("", "hi", "")]]


def test_googles_instructions_are_recorded() -> None:
    content = interactions_pb2.InteractionContent()
    instructions = {"parts": [{"text": CANARY}]}
    add_request(content, [{"role": "user", "parts": [{"text": "hi"}]}], [{"systemInstruction": instructions}])
    assert (content.prompt[0].role, parts(content.prompt[0])) == (
        SYSTEM,
        [("", instructions, "application/json")],
    )


def test_a_stream_that_is_let_go_of_is_not_held_until_it_is_given_up(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, provider: dict[str, str]
) -> None:
    stream = litellm.completion(
        model="gpt-4o", messages=[{"role": "user", "content": CANARY}], stream=True, **provider
    )
    held = weakref.ref(stream)
    del stream
    gc.collect()
    assert held() is None
    logger.at_exit()
    recorder.wait()
    assert said(only(ingest)) == [(USER, [("", CANARY, "")])]

"""The callback, called by the real LiteLLM, to a real gRPC server. Models answer from `mock_response`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kept.litellm
from kept.client.record_ids import created_at, derived
from kept.litellm.messages import add_prompt
from kept.logging.v1 import interactions_pb2
from tests.support.offline_litellm import WatchedRecorder, callbacks, litellm
from tests.unit.clients.ingest import Ingest, Serving, serving

if TYPE_CHECKING:
    from kept.litellm import KeptLogger

pytestmark = pytest.mark.xdist_group("litellm")  # one process is enough to import it

ORG = "org_" + "a" * 26
MARKER = "heliotrope-31337"
PNG = b"\x89PNG\r\n"
USER, ASSISTANT, TOOL, SYSTEM = (
    interactions_pb2.MESSAGE_ROLE_USER,
    interactions_pb2.MESSAGE_ROLE_ASSISTANT,
    interactions_pb2.MESSAGE_ROLE_TOOL,
    interactions_pb2.MESSAGE_ROLE_SYSTEM,
)
TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()  # type: ignore[abstract]


@pytest.fixture
def server(tmp_path: Path, ingest: Ingest) -> Iterator[Serving]:
    with serving(tmp_path, ingest) as made:
        yield made


@pytest.fixture
def recorder(server: Serving) -> Iterator[WatchedRecorder]:
    with WatchedRecorder(*server.arguments) as made:
        yield made


@pytest.fixture
def logger(recorder: WatchedRecorder) -> Iterator[KeptLogger]:
    made = kept.litellm.KeptLogger(recorder, ORG, application="default")
    with callbacks(made):
        yield made


def only(ingest: Ingest) -> interactions_pb2.Interaction:
    (one,) = ingest.stored.values()
    return one


def parts(message: interactions_pb2.Message) -> list[tuple[str, Any, str]]:
    """(kind, text or data, media type) of each part; JSON as what it says."""
    found = []
    for part in message.parts:
        value: Any = part.text if part.WhichOneof("part") == "text" else part.data
        if part.media_type == "application/json":
            value = json.loads(value)
        found.append((part.kind, value, part.media_type))
    return found


def check_whole(one: interactions_pb2.Interaction, answer: str) -> None:
    assert (one.organization_id, one.model, one.application, one.end_user) == (
        ORG,
        "gpt-4o",
        "support",
        "u-1",
    )
    assert one.api_key_kind == interactions_pb2.API_KEY_KIND_TRIAL
    assert (one.api_key_id, one.country) == (KEY_ID, "DE")
    assert (one.finish_reason, [parts(each) for each in one.content.generations]) == (
        "stop",
        [[("", answer, "")]],
    )
    assert [message.role for message in one.content.prompt] == [SYSTEM, USER, ASSISTANT, TOOL]
    assert [parts(message) for message in one.content.prompt] == [
        [("", "be kind", "")],
        [
            ("", "what is this?", ""),
            ("image", PNG, "image/png"),
            ("image", "https://example.org/a.png", ""),
        ],
        [("tool_call", TOOL_CALL, "application/json")],
        [("tool_result", "rain", ""), ("message_fields", {"tool_call_id": "call_1"}, "application/json")],
    ]
    assert one.prompt_tokens > 0
    assert one.generation_tokens > 0
    assert timedelta(0) < one.latency.ToTimedelta() < timedelta(minutes=1)
    assert timedelta(0) <= datetime.now(UTC) - created_at(one.record_id) < timedelta(minutes=1)


KEY_ID = "apikey_" + "a" * 26
CALL: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": MESSAGES,
    "user": "u-1",
    "metadata": {"application": "support", "api_key_kind": "trial", "api_key_id": KEY_ID, "country": "DE"},
}


def test_a_call_arrives_whole(logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest) -> None:
    litellm.completion(**CALL, mock_response="a hat")
    recorder.wait()
    check_whole(only(ingest), "a hat")
    assert (logger.unattributed, logger.failed, recorder.dropped) == (0, 0, 0)


def test_a_stream_arrives_once_and_whole(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    for _ in litellm.completion(**CALL, mock_response="a hat, seen from its side", stream=True):
        pass
    recorder.wait()
    check_whole(only(ingest), "a hat, seen from its side")


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_an_event_loop_arrives_whole(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, stream: bool
) -> None:
    async def call() -> None:
        answer = await litellm.acompletion(**CALL, mock_response="a hat", stream=stream)
        if stream:
            async for _ in answer:
                pass
        await asyncio.to_thread(recorder.wait)

    asyncio.run(call())
    check_whole(only(ingest), "a hat")


@pytest.mark.parametrize("loop", [False, True])
def test_a_call_that_fails_is_recorded_without_the_text_of_the_error(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, loop: bool
) -> None:
    failure = litellm.RateLimitError(MARKER, "openai", "gpt-4o")

    async def call() -> None:
        with pytest.raises(litellm.RateLimitError):
            await litellm.acompletion(**CALL, mock_response=failure)
        await asyncio.to_thread(recorder.wait)

    if loop:
        asyncio.run(call())
    else:
        with pytest.raises(litellm.RateLimitError):
            litellm.completion(**CALL, mock_response=failure)
        recorder.wait()
    one = only(ingest)
    assert (one.finish_reason, len(one.content.generations), len(one.content.prompt)) == ("error", 0, 4)
    assert one.content.attributes["error.type"] == "RateLimitError"
    assert one.content.attributes["error.code"] == "429"
    assert MARKER.encode() not in one.SerializeToString()


def test_tool_calls_of_the_model_are_kept_as_it_made_them(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    litellm.completion(**CALL, mock_tool_calls=[TOOL_CALL], mock_response="")
    recorder.wait()
    (generation,) = only(ingest).content.generations
    assert ("tool_call", TOOL_CALL, "application/json") in parts(generation)


def test_several_choices_are_several_generations(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    litellm.completion(**CALL, mock_response="yes", n=3)
    recorder.wait()
    assert len(only(ingest).content.generations) == 3


def test_text_completions_and_embeddings_are_calls_too(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    litellm.text_completion(model="gpt-3.5-turbo-instruct", prompt="say yes", mock_response="yes")
    recorder.wait()
    litellm.embedding(model="text-embedding-3-small", input=["one", "two"], mock_response=[0.5, 0.25])
    while len(ingest.stored) < 2:  # of the first it may tell twice
        recorder.wait()
    text, embedding = ingest.stored.values()
    assert ([parts(each) for each in text.content.prompt], text.application) == (
        [[("", "say yes", "")]],
        "default",
    )
    assert [parts(each) for each in text.content.generations] == [[("", "yes", "")]]
    assert [parts(each) for each in embedding.content.prompt] == [[("", "one", "")], [("", "two", "")]]
    assert not embedding.content.generations


def handed(logger: KeptLogger, kwargs: dict[str, Any]) -> None:
    """As LiteLLM calls it, with what its proxy would say."""
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - LiteLLM's are like that
    logger.log_success_event(
        kwargs=kwargs, response_obj=None, start_time=start, end_time=start + timedelta(seconds=2)
    )


def test_an_attempt_of_which_it_tells_twice_is_one_record_and_another_attempt_another(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    """As it does of text completions, from two threads: both with the call's id and when the attempt began."""
    begun, end = datetime(2026, 1, 1, 12, 0, 0, 193_599), datetime(2026, 1, 1, 12, 0, 2)  # noqa: DTZ001 - LiteLLM's are like that
    inner, again = begun + timedelta(milliseconds=36), begun + timedelta(seconds=1)
    for attempt, start in ((begun, begun), (begun, inner), (again, again)):
        logger.log_success_event(
            kwargs={"messages": "hi", "litellm_call_id": "call-1", "start_time": attempt},
            response_obj=None,
            start_time=start,
            end_time=end,
        )
        recorder.wait()
    assert len(ingest.stored) == 2


def test_behind_a_proxy_its_clients_choose_neither_organization_nor_key(
    recorder: WatchedRecorder, ingest: Ingest
) -> None:
    def resolve(metadata: Any) -> str | None:
        return str(metadata["user_api_key_org_id"])

    metadata = {
        "user_api_key_hash": "h",
        "user_api_key_org_id": ORG,
        "user_api_key_metadata": {"application": "by the key"},
        "organization": "org_" + "b" * 26,
        "application": "by the client",
        "api_key_kind": "trial",
        "api_key_id": KEY_ID,
        "country": "DE",
    }
    handed(
        kept.litellm.KeptLogger(recorder, resolve),
        {"messages": "hi", "litellm_params": {"metadata": metadata}},
    )
    recorder.wait()
    one = only(ingest)
    assert (one.organization_id, one.application) == (ORG, "by the key")
    assert one.api_key_kind == interactions_pb2.API_KEY_KIND_UNSPECIFIED
    assert (one.api_key_id, one.country) == ("", "")


FORGED = "org_" + "b" * 26


@pytest.mark.parametrize(
    ("metadata", "litellm_metadata", "whose"),
    [
        # A client of the proxy fills the place that the proxy did not write to.
        ({"user_api_key_auth": object(), "user_api_key_org_id": ORG}, {"user_api_key_org_id": FORGED}, ORG),
        (
            {"user_api_key_org_id": FORGED, "user_api_key_auth": {}},
            {"user_api_key_auth": object(), "user_api_key_org_id": ORG},
            ORG,
        ),
        ({"user_api_key_auth": object(), "user_api_key": "h"}, {"user_api_key_org_id": FORGED}, None),
        # Nothing tells which is the proxy's: what they differ in is nobody's.
        ({"user_api_key_org_id": ORG}, {"user_api_key_org_id": FORGED}, None),
        ({"user_api_key": "h"}, {"user_api_key_org_id": FORGED}, None),
        ({"user_api_key_org_id": ORG}, {"application": "a"}, ORG),
        ({"user_api_key_org_id": ORG}, None, ORG),
    ],
)
def test_no_client_of_the_proxy_can_record_for_another_organization(
    recorder: WatchedRecorder, ingest: Ingest, metadata: Any, litellm_metadata: Any, whose: str | None
) -> None:
    logger = kept.litellm.KeptLogger(recorder, lambda found: found.get("user_api_key_org_id"))
    parameters = {"metadata": metadata, "litellm_metadata": litellm_metadata}
    handed(logger, {"messages": "hi", "litellm_params": parameters})
    assert recorder.flush(20)
    assert [one.organization_id for one in ingest.stored.values()] == ([whose] if whose else [])
    assert (logger.unattributed, logger.failed) == (0 if whose else 1, 0)


@pytest.mark.parametrize("said", ["sk-live-secret", "apikey_", 7, None])
def test_what_is_no_keys_id_costs_no_record(recorder: WatchedRecorder, ingest: Ingest, said: Any) -> None:
    metadata = {"api_key_id": said, "country": said}
    handed(
        kept.litellm.KeptLogger(recorder, ORG), {"messages": "hi", "litellm_params": {"metadata": metadata}}
    )
    recorder.wait()
    assert (only(ingest).api_key_id, only(ingest).country) == ("", "")


def test_a_field_in_doubt_still_means_that_there_is_a_proxy(
    recorder: WatchedRecorder, ingest: Ingest
) -> None:
    client = {"user_api_key": "other", "api_key_kind": "trial"}
    parameters = {"metadata": {"user_api_key": "h"}, "litellm_metadata": client}
    handed(kept.litellm.KeptLogger(recorder, ORG), {"messages": "hi", "litellm_params": parameters})
    recorder.wait()
    assert only(ingest).api_key_kind == interactions_pb2.API_KEY_KIND_UNSPECIFIED


def test_responses_are_messages_and_calls(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    litellm.responses(model="gpt-4o", input=[{"role": "user", "content": "hello"}], mock_response="hi")
    recorder.wait()
    one = only(ingest)
    assert [(message.role, parts(message)[0]) for message in one.content.prompt] == [
        (USER, ("", "hello", ""))
    ]
    assert [parts(message)[0] for message in one.content.generations] == [("", "hi", "")]
    assert (one.finish_reason, one.prompt_tokens > 0) == ("completed", True)
    call = {"type": "function_call_output", "call_id": "c", "output": "rain"}
    assert prompt(call) == [[("tool_result", call, "application/json")]]


def test_the_same_attempt_told_twice_is_one_record(recorder: WatchedRecorder, ingest: Ingest) -> None:
    logger = kept.litellm.KeptLogger(recorder, ORG)
    for call in ("a", "a", "b"):
        handed(logger, {"messages": "hi", "litellm_call_id": call})
        recorder.wait()
    assert len(ingest.stored) == 2
    assert sum(ingest.batches) == 3


@pytest.mark.parametrize(
    ("first", "again"),
    [(-3600.0, -3599.5), (-3600.0, 2.0), (2.0, -3600.0)],
    ids=["set back within the call", "and right again", "set back between"],
)
def test_an_attempt_that_is_told_twice_is_one_record_though_the_clock_was_set_back(
    recorder: WatchedRecorder, ingest: Ingest, first: float, again: float
) -> None:
    begun = datetime(2026, 7, 1, 12, tzinfo=UTC)
    now = [begun]
    logger = kept.litellm.KeptLogger(recorder, ORG, now=lambda: now[0])
    for seconds in (first, again):
        now[0] = begun + timedelta(seconds=seconds)
        answered(logger, {"choices": []}, begun, litellm_call_id="a", start_time=begun)
        recorder.wait()
    assert created_at(only(ingest).record_id) == begun + timedelta(seconds=min(first, 0.0))
    answered(logger, {"choices": []}, begun, litellm_call_id="b", start_time=begun)
    recorder.wait()
    assert len(ingest.stored) == 2


def test_few_attempts_that_were_told_of_are_remembered(recorder: WatchedRecorder) -> None:
    from kept.litellm import callback

    logger = kept.litellm.KeptLogger(recorder, ORG)
    for number in range(callback._MOST_TOLD + 5):
        answered(logger, {"choices": []}, litellm_call_id=str(number))
    assert len(logger._told) == callback._MOST_TOLD


def test_what_cannot_be_recorded_is_counted_said_and_never_raised(
    recorder: WatchedRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    def resolve(metadata: Any) -> str | None:
        if metadata:
            raise RuntimeError(MARKER)
        return None

    times = iter((0.0, 0.1, 5.0))
    logger = kept.litellm.KeptLogger(recorder, resolve, clock=lambda: next(times))
    handed(logger, {"messages": MARKER})
    handed(logger, {"messages": MARKER, "litellm_params": {"metadata": {"a": 1}}})
    logger.log_failure_event(kwargs=None, response_obj=None, start_time=None, end_time=None)
    assert (logger.unattributed, logger.failed, recorder.waiting) == (1, 2, 0)
    assert [one.levelno for one in caplog.records] == [logging.WARNING] * 2  # the second came within a second
    assert MARKER not in caplog.text


def test_a_log_that_raises_costs_the_gateway_nothing(
    recorder: WatchedRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError(MARKER)

    monkeypatch.setattr(logging.getLogger("kept"), "filters", [broken])
    logger = kept.litellm.KeptLogger(recorder, lambda _: None)
    handed(logger, {"messages": MARKER})
    assert (logger.unattributed, logger.failed) == (1, 0)


def answered(logger: KeptLogger, response: Any, start: Any = None, end: Any = None, **call: Any) -> None:
    logger.log_success_event(
        kwargs={"messages": "hi", **call}, response_obj=response, start_time=start, end_time=end
    )


@pytest.mark.parametrize(
    ("response", "generations", "tokens"),
    [
        ({"choices": ["yes", None]}, [[("", "yes", "")], [("", None, "application/json")]], (0, 0)),
        ({"choices": [], "usage": {"prompt_tokens": True, "completion_tokens": False}}, [], (0, 0)),
        ({"choices": [], "usage": {"prompt_tokens": "5", "completion_tokens": 5}}, [], (0, 5)),
        ({"text": "a"}, [[(f"{MARKER}?", {"text": "a"}, "application/json")]], (0, 0)),
    ],
)
def test_no_shape_of_an_answer_costs_the_call(
    recorder: WatchedRecorder, ingest: Ingest, response: Any, generations: Any, tokens: tuple[int, int]
) -> None:
    logger = kept.litellm.KeptLogger(recorder, ORG)
    answered(logger, response, call_type=f"{MARKER}\ud800")
    assert logger.failed == 0
    recorder.wait()
    one = only(ingest)
    assert [parts(each) for each in one.content.generations] == generations
    assert (one.prompt_tokens, one.generation_tokens) == tokens


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2026, 3, 29, 1, 59, 59), datetime(2026, 3, 29, 3, 0, 1)),  # noqa: DTZ001
        (datetime(2026, 10, 25, 2, 59, 59), datetime(2026, 10, 25, 2, 0, 1, fold=1)),  # noqa: DTZ001
        (datetime(2026, 7, 1, 12), datetime(2026, 7, 1, 10, 0, 2, tzinfo=UTC)),  # noqa: DTZ001
    ],
    ids=["spring", "autumn", "one with its zone"],
)
def test_a_call_over_a_change_of_the_clocks_took_as_long_as_it_took(
    recorder: WatchedRecorder, ingest: Ingest, start: datetime, end: datetime
) -> None:
    answered(kept.litellm.KeptLogger(recorder, ORG), {"choices": []}, start, end)
    recorder.wait()
    assert only(ingest).latency.ToTimedelta() == timedelta(seconds=2)


def test_names_that_the_contract_has_no_room_for_cost_no_record(
    recorder: WatchedRecorder, ingest: Ingest
) -> None:
    user = "user_" + "0" * 200
    handed(
        kept.litellm.KeptLogger(recorder, ORG),
        {
            "messages": "hi",
            "model": "m\n" + "x" * 300,
            "user": user,
            "litellm_params": {"metadata": {"application": "a\x00b"}},
        },
    )
    recorder.wait()
    one = only(ingest)
    assert (one.application, len(one.model), len(one.end_user)) == ("a b", 200, 64)
    assert user not in one.end_user


def prompt(*messages: Any) -> list[list[tuple[str, Any, str]]]:
    content = interactions_pb2.InteractionContent()
    add_prompt(content, list(messages))
    return [parts(message) for message in content.prompt]


@pytest.mark.parametrize(
    ("part", "kept_as"),
    [
        ({"type": "text", "text": "a\x00b"}, ("", "a\x00b", "")),
        ({"type": "text", "text": "a\ud800"}, ("", b"a\xed\xa0\x80", "text/plain;charset=wtf-8")),
        ({"type": "image_url", "image_url": "data:,a%20b"}, ("image", b"a b", "text/plain;charset=US-ASCII")),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}},
            ("image", "data:image/png;base64,!", ""),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAE=", "format": "wav"}},
            ("audio", b"\x00\x01", "audio/wav"),
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AAE="}},
            ("image", b"\x00\x01", "image/gif"),
        ),
    ],
)
def test_parts_are_kept_as_what_they_are(part: dict[str, Any], kept_as: tuple[str, Any, str]) -> None:
    assert prompt({"role": "user", "content": [part]}) == [[kept_as]]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://a.example/b", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:,a"}, "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "text", "text": ["no", "text"]},
    ],
)
def test_what_has_more_to_say_is_kept_whole_as_json(part: dict[str, Any]) -> None:
    assert prompt({"role": "user", "content": [part]}) == [[(part["type"], part, "application/json")]]


LONE = "x\ud800"


@pytest.mark.parametrize(
    "part",
    [
        {"type": LONE, "y": 1},
        {"type": "image", "source": {"type": "base64", "media_type": LONE, "data": "AAE="}},
        {"type": "input_audio", "input_audio": {"data": "AAE=", "format": LONE}},
    ],
    ids=lambda part: next(iter(part["type"])),
)
def test_a_type_that_is_no_unicode_costs_nothing(part: dict[str, Any]) -> None:
    ((_, value, media_type),) = prompt({"role": "user", "content": [part]})[0]
    assert (value, media_type) == (part, "application/json")
    assert prompt({"type": LONE, "y": 1}) == [[("x?", {"type": LONE, "y": 1}, "application/json")]]


@pytest.mark.parametrize("url", [f"data:{LONE},abc", f"data:{LONE};base64,AAE="])
def test_a_url_whose_type_is_no_unicode_is_kept_as_it_is(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert prompt({"role": "user", "content": [part]}) == [
        [("image", url.encode("utf-8", "surrogatepass"), "text/plain;charset=wtf-8")]
    ]


@pytest.mark.parametrize(
    "raw",
    [b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")],
    ids=["bytes", "bytearray", "memoryview"],
)
def test_bytes_are_kept(raw: Any) -> None:
    file = {"type": "file", "file": {"file_data": raw}}
    kept_file = {"type": "file", "file": {"file_data": {"base64": "AP8="}}}
    assert prompt({"role": "user", "content": [file, raw]}, raw) == [
        [("file", kept_file, "application/json"), ("", b"\x00\xff", "application/octet-stream")],
        [("", b"\x00\xff", "application/octet-stream")],
    ]


def test_reasoning_names_and_unknown_roles_are_kept() -> None:
    assert prompt(
        {"role": "critic", "content": "no", "name": "ada", "reasoning_content": "hm"},
        {"role": "developer", "content": "be brief"},
    ) == [
        [
            ("reasoning", "hm", ""),
            ("", "no", ""),
            ("message_fields", {"role": "critic", "name": "ada"}, "application/json"),
        ],
        [("", "be brief", ""), ("message_fields", {"role": "developer"}, "application/json")],
    ]


JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.sampled_from([LONE, f"data:{LONE},a"])
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "url", "tool_calls", "source"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(messages=st.dictionaries(st.sampled_from(["content", "type", "image_url"]), JSON) | JSON)
def test_no_shape_of_messages_raises(messages: Any) -> None:
    content = interactions_pb2.InteractionContent()
    add_prompt(content, messages)
    assert interactions_pb2.InteractionContent.FromString(content.SerializeToString()) == content


def test_ids_of_what_has_a_name_are_the_same_again_and_valid() -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, 8000, tzinfo=UTC)
    assert derived(at, "a", "bc") == derived(at, "a", "bc") != derived(at, "ab", "c")
    assert created_at(derived(at, "a")) == at


def environment(server: Serving) -> dict[str, str]:
    address, certificate, key, authority = server.arguments
    return {
        "KEPT_LOGGING_ADDRESS": address,
        "KEPT_GATEWAY_CERTIFICATE": str(certificate),
        "KEPT_GATEWAY_KEY": str(key),
        "KEPT_AUTHORITY": str(authority),
        "KEPT_ORGANIZATION": ORG,
    }


def test_three_lines_send(server: Serving, ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kept.litellm, "_made", [])
    made = kept.litellm.handler
    assert made is kept.litellm.handler  # once
    handed(made, {"messages": "hi"})
    assert made.recorder.close(20)
    assert only(ingest).organization_id == ORG


def test_an_organization_by_the_name_of_its_field(server: Serving, ingest: Ingest) -> None:
    told = environment(server)
    del told["KEPT_ORGANIZATION"]
    for name, whose, nobodys in (
        ("user_api_key_org_id", {"user_api_key_org_id": ORG}, {"user_api_key_org_id": None}),
        ("kept", {"user_api_key_metadata": {"kept": ORG}}, {"user_api_key": "h", "kept": FORGED}),
        ("kept", {"kept": ORG}, {}),
    ):
        ingest.stored.clear()
        made = kept.litellm.KeptLogger.from_environment(told | {"KEPT_ORGANIZATION_METADATA": name})
        handed(made, {"messages": "hi", "litellm_params": {"metadata": whose}})
        handed(made, {"messages": "hi", "litellm_params": {"metadata": nobodys}})
        assert made.recorder.close(20)
        assert (only(ingest).organization_id, made.unattributed) == (ORG, 1)


def test_what_is_missing_in_the_environment_is_named() -> None:
    with pytest.raises(ValueError, match="KEPT_GATEWAY_KEY, KEPT_AUTHORITY, one of KEPT_ORGANIZATION"):
        kept.litellm.KeptLogger.from_environment(
            {"KEPT_LOGGING_ADDRESS": "a:1", "KEPT_GATEWAY_CERTIFICATE": "c"}
        )

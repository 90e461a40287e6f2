"""Calls of which LiteLLM never says how they ended: what went in is recorded all the same. The real LiteLLM, except where it is said."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import kept.litellm
from kept.client.record_ids import created_at
from kept.litellm import messages
from kept.litellm.open_calls import OpenCalls, rough_size
from tests.support.offline_litellm import WatchedRecorder, callbacks, litellm
from tests.unit.clients.ingest import Ingest
from tests.unit.clients.test_litellm import MARKER, ORG, ingest, only, parts, recorder, server

if TYPE_CHECKING:
    from kept.litellm import KeptLogger

__all__ = ["ingest", "recorder", "server"]

pytestmark = pytest.mark.xdist_group("litellm")  # one process is enough to import it

CALL: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hi"}],
    "mock_response": "a long answer of many words " * 20,
    "stream": True,
}
MINUTES = 60.0
MIB = 1024 * 1024
# All of a call that says something to the model.
SECRET: dict[str, Any] = {
    "messages": [{"role": "system", "content": MARKER}, {"role": "user", "content": MARKER}],
    "tools": [{"type": "function", "function": {"name": "f", "description": MARKER, "parameters": {}}}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"title": MARKER}}},
    "prediction": {"type": "content", "content": MARKER},
    "user": "u-1",
    "metadata": {"application": "support"},
}


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def logger(recorder: WatchedRecorder, clock: list[float]) -> Iterator[KeptLogger]:
    made = kept.litellm.KeptLogger(recorder, ORG, clock=lambda: clock[0])
    with callbacks(made):
        yield made
    made.at_exit()


async def breaks() -> None:
    async for _ in await litellm.acompletion(**CALL):
        break


async def closes() -> None:
    stream = await litellm.acompletion(**CALL)
    await anext(aiter(stream))
    await stream.aclose()


async def is_cancelled() -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await litellm.acompletion(**CALL):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def is_dropped_without_a_loop() -> None:
    next(iter(litellm.completion(**CALL)))


@pytest.mark.parametrize("abandon", [breaks, closes, is_cancelled, is_dropped_without_a_loop])
def test_a_stream_that_is_abandoned_leaves_what_went_in(
    logger: KeptLogger,
    recorder: WatchedRecorder,
    ingest: Ingest,
    clock: list[float],
    abandon: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    asyncio.run(abandon())
    gc.collect()
    assert (logger.partial, recorder.waiting, ingest.stored) == (0, 0, {})
    clock[0] = 10 * MINUTES
    litellm.completion(**CALL | {"stream": False})  # any call gives up those that are overdue
    recorder.wait(2)
    [one] = [each for each in ingest.stored.values() if each.finish_reason == "partial"]
    assert [parts(message) for message in one.content.prompt] == [[("", "hi", "")]]
    assert (one.organization_id, one.model, len(one.content.generations)) == (ORG, "gpt-4o", 0)
    assert one.content.attributes["litellm.call_id"]
    assert datetime.now(UTC) - created_at(one.record_id) < timedelta(minutes=1)
    assert (logger.partial, logger.failed) == (1, 0)


def test_nobody_has_to_call_for_it(recorder: WatchedRecorder, ingest: Ingest) -> None:
    logger = kept.litellm.KeptLogger(recorder, ORG, end_within=timedelta(milliseconds=1))
    with callbacks(logger):
        asyncio.run(breaks())
        recorder.wait()
    assert only(ingest).finish_reason == "partial"


def test_at_the_end_of_the_process_it_is_recorded_before_the_recorder_ends(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    from kept.client import lifetimes

    asyncio.run(breaks())
    lifetimes._at_exit()
    assert only(ingest).finish_reason == "partial"
    assert (logger.partial, recorder.dropped) == (1, 0)


def test_a_call_whose_end_is_told_is_recorded_once(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, clock: list[float]
) -> None:
    for _ in litellm.completion(**CALL):
        pass
    with pytest.raises(litellm.APIError):
        litellm.completion(**CALL | {"stream": False, "mock_response": litellm.APIError(500, "x", "y", "z")})
    litellm.text_completion(model="gpt-3.5-turbo-instruct", prompt="hi", mock_response="yo")
    recorder.wait(3)
    clock[0] = 60 * MINUTES
    logger.at_exit()
    assert recorder.flush(30)
    assert sorted(one.finish_reason for one in ingest.stored.values()) == ["error", "stop", "stop"]
    assert logger.partial == 0


def test_an_end_that_comes_late_is_recorded_too(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, clock: list[float]
) -> None:
    stream = litellm.completion(**CALL)
    clock[0] = 10 * MINUTES
    litellm.completion(**CALL | {"stream": False})
    for _ in stream:
        pass
    recorder.wait(3)
    assert sorted(one.finish_reason for one in ingest.stored.values()) == ["partial", "stop", "stop"]


@pytest.mark.parametrize("call", [None, 5, {}, {"litellm_call_id": "\ud800"}, {"start_time": object()}])
def test_no_shape_of_a_call_raises(logger: KeptLogger, call: Any) -> None:
    logger.log_pre_api_call(model=None, messages=None, kwargs=call)
    logger.at_exit()
    logger.log_failure_event(kwargs=call, response_obj=None, start_time=None, end_time=None)


def test_those_that_are_too_many_or_overdue_are_given_up_oldest_first() -> None:
    now = [0.0]
    calls = OpenCalls(2, MIB, 5.0, lambda: now[0])
    for number in range(3):
        calls.begin(number, {"number": number})
        now[0] += 1
    assert calls.given_up() == [{"number": 0}]
    calls.begin(1, {"number": 1})  # goes out again
    calls.end(0)  # given up before
    now[0] = 7
    assert calls.given_up() == [{"number": 2}]
    calls.end(1)
    assert (len(calls), calls.given_up(all_of_them=True)) == (0, [])


def test_those_that_are_too_large_together_are_given_up_oldest_first() -> None:
    calls = OpenCalls(10, 3 * MIB, 5.0, lambda: 0.0)
    large = [{"messages": [{"role": "user", "content": str(number) * MIB}]} for number in range(4)]
    for number in range(4):
        calls.begin(number % 3, large[number])  # the first goes out again, and counts once
    assert calls.given_up() == [large[1]]
    calls.end(2)
    calls.begin(4, large[0])
    assert calls.given_up() == []
    calls.begin(5, {"input": [bytes(4 * MIB)]})
    assert len(calls.given_up()) == 3
    calls.begin(6, large[0])
    assert (calls.given_up(), len(calls)) == ([], 1)


def test_what_is_open_is_bounded_in_bytes(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    asyncio.run(breaks())
    for number in range(9):
        call = {"litellm_call_id": str(number), "messages": str(number) * 8 * MIB, "litellm_params": {}}
        logger.log_pre_api_call(None, None, call)
    assert (logger.partial, len(logger._open)) == (3, 7)
    recorder.wait()
    assert [parts(message) for message in only(ingest).content.prompt] == [[("", "hi", "")]]


def test_the_size_of_a_call_is_that_of_its_texts_each_once_and_soon_known() -> None:
    text = "x" * MIB
    again: dict[str, Any] = {"messages": [{"content": text}], "input": [{"content": text}]}
    again["itself"] = again
    assert MIB < rough_size(again) < MIB + 10_000
    assert rough_size({"messages": [litellm.Message(content=text)]}) > MIB
    assert rough_size({"messages": "\U0001f600" * MIB}) > 4 * MIB
    tokens = {"input": [list(range(1000, 101_000))] * 1000 + [[token] for token in range(1_000_000)]}
    assert 7 * MIB < rough_size(tokens) < 16 * MIB  # not all are looked at


def says_it_of_all(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(importlib.import_module("litellm"), "turn_off_message_logging", True)


def says_it_itself(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    call["turn_off_message_logging"] = True


def has_the_header(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    call["metadata"] = call["metadata"] | {"headers": {"x-litellm-enable-message-redaction": "true"}}


def says_it_of_the_callback(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    logger.message_logging = False


def cannot_be_asked(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    redaction = importlib.import_module("litellm.litellm_core_utils.redact_messages")
    patch.setattr(redaction, "should_redact_message_logging", None)


def has_nobody_to_ask(call: dict[str, Any], logger: KeptLogger, patch: pytest.MonkeyPatch) -> None:
    redaction = importlib.import_module("litellm.litellm_core_utils.redact_messages")
    patch.delattr(redaction, "should_redact_message_logging")


@pytest.mark.parametrize(
    "who",
    [
        says_it_of_all,
        says_it_itself,
        has_the_header,
        says_it_of_the_callback,
        cannot_be_asked,
        has_nobody_to_ask,
    ],
)
def test_of_a_call_that_is_to_be_redacted_log_data_only(
    logger: KeptLogger,
    recorder: WatchedRecorder,
    ingest: Ingest,
    monkeypatch: pytest.MonkeyPatch,
    who: Callable[[dict[str, Any], KeptLogger, pytest.MonkeyPatch], None],
) -> None:
    call = CALL | SECRET
    with monkeypatch.context() as patch:
        if who in (cannot_be_asked, has_nobody_to_ask):  # LiteLLM itself asks while it calls
            next(iter(litellm.completion(**call)))
            who(call, logger, patch)
        else:
            who(call, logger, patch)
            next(iter(litellm.completion(**call)))
        logger.at_exit()
    recorder.wait()
    one = only(ingest)
    assert MARKER not in str(one)
    assert (len(one.content.prompt), one.finish_reason, logger.partial) == (0, "partial", 1)
    assert (one.organization_id, one.model, one.application, one.end_user) == (
        ORG,
        "gpt-4o",
        "support",
        "u-1",
    )
    assert set(one.content.attributes) == {"litellm.call_id", "litellm.call_type", "litellm.provider"}


def test_no_field_of_a_request_outlives_its_redaction(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest
) -> None:
    logger.message_logging = False
    fields = {name: [{"text": MARKER}] for name in messages.BESIDE}
    call = {"litellm_params": {}, "input": MARKER, **fields, "optional_params": fields | {"user": "u-1"}}
    logger.log_pre_api_call(None, None, call)
    logger.at_exit()
    recorder.wait()
    assert MARKER not in str(only(ingest))
    assert (len(only(ingest).content.prompt), only(ingest).end_user) == (0, "u-1")


def test_of_a_call_that_is_not_to_be_redacted_all_that_went_in(
    logger: KeptLogger, recorder: WatchedRecorder, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("litellm"), "turn_off_message_logging", True)
    # Who calls may say so, and LiteLLM then hides nothing.
    headers = {"litellm-disable-message-redaction": "true"}
    next(iter(litellm.completion(**CALL | SECRET | {"metadata": {"headers": headers}})))
    logger.at_exit()
    recorder.wait()
    kinds = [kind for message in only(ingest).content.prompt for kind, _, _ in parts(message)]
    assert kinds == ["", "", "tool_definition", "response_format", "prediction"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_leaves_the_parents_calls_to_the_parent(
    logger: KeptLogger, recorder: WatchedRecorder
) -> None:
    asyncio.run(breaks())
    assert len(logger._open) == 1
    child = os.fork()
    if child == 0:
        os._exit(len(logger._open))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(logger._open) == 1

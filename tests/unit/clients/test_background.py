"""Recorders in the background, by thread and by task, against a real server; what threads do is ordered by events."""

import asyncio
import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from kept.client import AsyncRecorder, BackgroundRecorder, Limits, lifetimes
from kept.client.errors import KeptError
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, interactions_pb2
from tests.unit.clients.ingest import Ingest, Serving, serving

QUICK = Limits(batch_seconds=0.0, first_pause=0.001, longest_pause=0.01)
NOWHERE: Any = ("127.0.0.1:1", Path("none"), Path("none"), Path("none"))
MARKER = "heliotrope-31337"


def saying(text: str = "hello") -> interactions_pb2.Interaction:
    made = interactions_pb2.Interaction(organization_id="org_" + "a" * 26, model="m")
    made.content.prompt.add().parts.add(text=text)
    return made


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()  # type: ignore[abstract]


@pytest.fixture
def server(tmp_path: Path, ingest: Ingest) -> Iterator[Serving]:
    with serving(tmp_path, ingest) as made:
        yield made


class Gate:
    """Stands for the connection: each call waits until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.through = threading.Semaphore(0)
        self.calls: list[list[bytes]] = []
        self.ended = threading.Event()

    def connect(self) -> Any:
        def close() -> None:
            self.ended.set()
            self.through.release()

        return self.send, close

    def send(self, interactions: Sequence[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        self.calls.append([one.record_id for one in interactions])
        self.entered.release()
        assert self.through.acquire(timeout=20)
        if self.ended.is_set():
            raise KeptError("CANCELLED", "", status="CANCELLED")
        return [ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_STORED) for _ in interactions]


def gated(gate: Gate, **more: Any) -> BackgroundRecorder:
    return BackgroundRecorder(*NOWHERE, connect=gate.connect, **more)


def test_records_arrive_whole_with_the_ids_that_were_told(server: Serving, ingest: Ingest) -> None:
    with BackgroundRecorder(*server.arguments) as recorder:
        template = saying()
        told = [recorder.record(template) for _ in range(700)]
        assert recorder.flush(20)
        assert (recorder.delivered, recorder.refused, recorder.dropped, recorder.waiting) == (700, 0, 0, 0)
    assert template == saying()  # the caller's own is left as it was
    assert list(ingest.stored) == told
    assert len(set(told)) == 700
    first = next(iter(ingest.stored.values()))
    first.ClearField("record_id")
    assert first == template


def test_what_was_stored_and_not_answered_is_sent_again(server: Serving, ingest: Ingest) -> None:
    ingest.breaks = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    with BackgroundRecorder(*server.arguments, limits=QUICK) as recorder:
        told = recorder.record(saying())
        assert recorder.flush(20)
        assert recorder.delivered == 1
    assert (list(ingest.stored), ingest.batches) == ([told], [1, 1, 1])


def test_refusals_of_the_moment_go_again_and_final_ones_are_told(server: Serving, ingest: Ingest) -> None:
    seen: list[bytes] = []

    def answer(one: interactions_pb2.Interaction) -> ingest_pb2.Receipt | None:
        seen.append(one.record_id)
        if one.model == "closed":
            return ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_REFUSED, reason=reasons_pb2.REASON_CLOSED)
        if one.model == "zdr":
            return ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_STORED_WITHOUT_CONTENT)
        if seen.count(one.record_id) == 1:
            return ingest_pb2.Receipt(
                outcome=ingest_pb2.OUTCOME_REFUSED, reason=reasons_pb2.REASON_OVERLOADED, retryable=True
            )
        return None

    ingest.answer = answer
    refusals: list[ingest_pb2.Receipt] = []
    with BackgroundRecorder(*server.arguments, limits=QUICK, on_refusal=refusals.append) as recorder:
        ids = {
            model: recorder.record(interactions_pb2.Interaction(model=model))
            for model in ("closed", "zdr", "m")
        }
        assert recorder.flush(20)
        assert (recorder.delivered, recorder.refused, recorder.dropped) == (2, 1, 0)
    assert [(each.record_id, each.reason) for each in refusals] == [
        (ids["closed"], reasons_pb2.REASON_CLOSED)
    ]
    assert list(ingest.stored) == [ids["m"]]


def test_a_full_buffer_drops_at_once_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    gate, drops = Gate(), list[int]()
    recorder = gated(gate, limits=Limits(records=2, batch_seconds=0.0), on_drop=drops.append)
    with caplog.at_level(logging.WARNING, "kept"):
        assert recorder.record(saying(MARKER))
        assert gate.entered.acquire(timeout=20)  # the thread is waiting for an answer all this time
        kept = [recorder.record(saying(MARKER)) for _ in range(50)]
        assert [each is not None for each in kept] == [True] + [False] * 49
        assert (recorder.dropped, drops) == (49, [1] * 49)
        first = [record.getMessage() for record in caplog.records]
        assert first == ["kept: 1 records DROPPED, they are lost; 2 records waiting"]
        gate.through.release(2)
        assert recorder.close(20)
    assert caplog.messages[-1] == "kept: 48 records DROPPED, they are lost; 0 records waiting"
    assert len(caplog.records) <= 3
    assert MARKER not in caplog.text
    assert (recorder.delivered, recorder.dropped) == (2, 49)


FOR_EVER = float("inf")


@pytest.mark.parametrize("seconds", [20, FOR_EVER])
def test_a_full_buffer_can_be_waited_for(seconds: float) -> None:
    gate = Gate()
    recorder = gated(gate, limits=Limits(records=1, batch_seconds=0.0), wait_when_full=seconds)
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    told: list[bytes | None] = []
    waiting = threading.Thread(target=lambda: told.append(recorder.record(saying())))
    waiting.start()
    gate.through.release(2)
    waiting.join(20)
    assert told
    assert told[0] is not None
    assert recorder.close(20)
    assert (recorder.delivered, recorder.dropped) == (2, 0)


def test_waiting_for_room_ends_in_time_and_drops() -> None:
    gate = Gate()
    recorder = gated(gate, limits=Limits(records=1, batch_seconds=0.0), wait_when_full=0.01)
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    assert recorder.record(saying()) is None
    assert recorder.dropped == 1
    gate.through.release(5)
    recorder.close()


def test_who_is_interrupted_while_it_waits_for_room_loses_a_record_that_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, drops = Gate(), list[int]()
    recorder = gated(
        gate, limits=Limits(records=1, batch_seconds=0.0), wait_when_full=20, on_drop=drops.append
    )
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)

    def interrupted(is_met: Callable[[], bool], _: float | None) -> None:
        assert not is_met()
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(recorder._changed, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recorder.record(saying())
    assert (recorder.dropped, recorder.waiting, drops) == (1, 1, [1])
    gate.through.release(2)
    assert recorder.close(20)


def test_seconds_may_be_without_end() -> None:
    gate = Gate()
    gate.through.release(20)
    limits = Limits(batch_records=2, batch_seconds=FOR_EVER)
    recorder = gated(gate, limits=limits, exit_timeout=FOR_EVER)
    assert recorder.record(saying())
    assert recorder.record(saying())
    assert gate.entered.acquire(timeout=20)  # a batch is full, and goes
    assert recorder.record(saying())
    assert recorder.flush(FOR_EVER)
    assert recorder.record(saying())
    assert recorder.close()
    assert (recorder.delivered, recorder.dropped) == (4, 0)


def test_closing_counts_what_was_never_answered_and_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    gate, drops = Gate(), list[int]()
    recorder = gated(gate, limits=QUICK, on_drop=drops.append)
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    recorder.record(saying())
    with caplog.at_level(logging.WARNING, "kept"):
        assert not recorder.flush(0)
        assert not recorder.close(0)
    assert (recorder.delivered, recorder.dropped, recorder.waiting, drops) == (0, 2, 0, [2])
    assert "2 records DROPPED" in caplog.text
    assert recorder.record(saying()) is None
    assert recorder.dropped == 3
    assert recorder.close()
    assert not [
        thread for thread in threading.enumerate() if thread.name == "kept-recorder" and thread.is_alive()
    ]


def test_flush_waits_for_what_was_taken_before_it_alone() -> None:
    gate = Gate()
    recorder = gated(gate, limits=Limits(batch_records=1, batch_seconds=0.0))
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    done: list[bool] = []
    flushing = threading.Thread(target=lambda: done.append(recorder.flush(20)))
    flushing.start()
    gate.through.release()
    flushing.join(20)
    assert done == [True]
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    assert recorder.delivered == 1
    gate.through.release()
    assert recorder.close(20)


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit])
def test_callbacks_and_a_connection_that_raise_end_nothing(
    caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    calls: list[int] = []

    def send(interactions: Sequence[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        calls.append(len(interactions))
        if len(calls) == 1:
            raise raised(MARKER)
        return [ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_REFUSED, reason=reasons_pb2.REASON_CLOSED)]

    def on_refusal(_: ingest_pb2.Receipt) -> None:
        raise raised(MARKER)

    recorder = BackgroundRecorder(
        *NOWHERE, limits=QUICK, on_refusal=on_refusal, connect=lambda: (send, lambda: None)
    )
    recorder.record(saying())
    assert recorder.close(20)
    assert (calls, recorder.refused) == ([1, 1], 1)
    assert f"on_refusal raised {raised.__name__}" in caplog.text
    assert MARKER not in caplog.text


class Broken(logging.Filter):
    """One that wants what is not there outside of a request, as on a logger or on a handler of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)

    def filter(self, record: logging.LogRecord) -> bool:
        self.asked.release()
        raise RuntimeError(MARKER)


@pytest.fixture(params=["logger", "handler"])
def broken(request: pytest.FixtureRequest) -> Iterator[Broken]:
    made, log, handler = Broken(), logging.getLogger("kept"), logging.StreamHandler()
    where = log if request.param == "logger" else handler
    where.addFilter(made)
    log.addHandler(handler)
    yield made
    log.removeHandler(handler)
    where.removeFilter(made)


def test_a_log_that_raises_ends_nothing(broken: Broken) -> None:
    """Neither the thread, nor a call of the gateway's, nor the end of the process for other recorders."""
    gate, failing = Gate(), threading.Event()

    def send(interactions: Sequence[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        if not failing.is_set():
            failing.set()
            raise KeptError("NOT_REACHABLE", "", status="UNAVAILABLE")
        return gate.send(interactions)

    recorder = BackgroundRecorder(
        *NOWHERE,
        limits=Limits(records=1, batch_seconds=0.0, first_pause=0.001, longest_pause=0.01),
        connect=lambda: (send, gate.connect()[1]),
    )
    recorder.record(saying())
    assert broken.asked.acquire(timeout=20)  # by the thread, of the failure
    assert gate.entered.acquire(timeout=20)  # which goes on
    assert recorder.record(saying()) is None  # there is no room, which is said from here, now or soon
    gate.through.release()
    assert recorder.close(20)
    assert (recorder.delivered, recorder.dropped) == (1, 1)


def test_one_whose_end_cannot_be_logged_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, broken: Broken
) -> None:
    told: list[str] = []
    monkeypatch.setattr(lifetimes, "_living", [Ill(told), Ill(told)])
    lifetimes._at_exit()
    assert told == ["exit", "exit"]
    assert broken.asked.acquire(timeout=0)


def test_a_thread_that_ended_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())
    gate = Gate()
    recorder = gated(gate, limits=QUICK)
    with monkeypatch.context() as meanwhile:

        def lacking(*_: Any, **__: Any) -> None:
            raise MemoryError

        meanwhile.setattr(recorder._delivery, "next_batch", lacking)
        recorder.record(saying())
        assert ended.wait(20)
        assert recorder._thread is not None
        recorder._thread.join(20)
    recorder.record(saying())
    assert gate.entered.acquire(timeout=20)
    gate.through.release(2)
    assert recorder.close(20)
    assert recorder.delivered == 2


def test_files_that_cannot_be_read_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    recorder = BackgroundRecorder(*NOWHERE, limits=QUICK)
    assert recorder.record(saying())
    assert not recorder.close(0.2)
    assert recorder.dropped == 1
    assert "sending fails (UNREADABLE) and is tried again" in caplog.text


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.through.release(20)
    recorder = gated(gate, limits=QUICK)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        assert recorder.record(saying())
        assert recorder.record(saying())
        assert not recorder.flush(0)
        assert recorder.waiting == 2
        gone = gated(Gate(), limits=QUICK)
        assert gone.record(saying())
        assert not gone.close(0)
        assert gone.dropped == 1
    assert recorder.flush(20)  # nothing need be recorded for that
    assert recorder.record(saying())
    assert recorder.close(20)
    assert (recorder.delivered, recorder.dropped) == (3, 0)


def test_what_waits_for_a_thread_is_held_though_nobody_holds_its_recorder(
    server: Serving, ingest: Ingest
) -> None:
    script = """
        import gc, threading
        starts = threading.Thread.start
        def none_left(thread):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = none_left
        record('early')
        del recorder
        gc.collect()
        threading.Thread.start = starts
    """
    ended = run(script, server)
    assert (ended.returncode, ended.stderr, models(ingest)) == (0, "", ["early"])


class Said(logging.Handler):
    """Tells that something was said."""

    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


def test_closing_does_not_sit_through_a_long_pause() -> None:
    calls: list[int] = []

    def send(interactions: Sequence[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        calls.append(len(interactions))
        if len(calls) == 1:
            raise KeptError("NOT_REACHABLE", "", status="UNAVAILABLE")
        return [ingest_pb2.Receipt(outcome=ingest_pb2.OUTCOME_STORED)]

    said = Said()
    logging.getLogger("kept").addHandler(said)
    try:
        limits = Limits(batch_seconds=0.0, first_pause=600, longest_pause=600)
        recorder = BackgroundRecorder(*NOWHERE, limits=limits, connect=lambda: (send, lambda: None))
        recorder.record(saying())
        assert said.event.wait(20)  # the failure is known, and the pause has begun
        assert recorder.close(5)
    finally:
        logging.getLogger("kept").removeHandler(said)
    assert (calls, recorder.delivered) == ([1, 1], 1)


def run(script: str, server: Serving, **environment: str) -> subprocess.CompletedProcess[str]:
    start = f"""
        import os, sys
        from pathlib import Path
        from kept.client import BackgroundRecorder
        from kept.logging.v1 import interactions_pb2
        recorder = BackgroundRecorder({server.address!r}, *map(Path, {[str(each) for each in server.arguments[1:]]!r}))
        def record(model):
            return recorder.record(interactions_pb2.Interaction(model=model))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(start) + textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def models(ingest: Ingest) -> list[str]:
    return sorted(one.model for one in ingest.stored.values())


def test_a_process_that_ends_sends_what_is_left(server: Serving, ingest: Ingest) -> None:
    ended = run("record('a'); record('b')", server)
    assert (ended.returncode, ended.stderr, models(ingest)) == (0, "", ["a", "b"])


def test_a_forked_child_sends_its_own_records_and_not_the_parents(server: Serving, ingest: Ingest) -> None:
    """The parent forks after it sent and with more in its buffer, as servers do that load the application and fork workers."""
    script = """
        record('before')
        assert recorder.flush(20)
        recorder._next = lambda: (None, None)  # the parent's stays in the buffer
        record('parent')
        child = os.fork()
        if child == 0:
            del recorder._next
            counts = (recorder.waiting, recorder.delivered)
            record('child')
            done = recorder.flush(20)
            os._exit(0 if done and counts == (0, 0) and recorder.delivered == 1 else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        del recorder._next
        record('after')
        sys.exit(status)
    """
    ended = run(script, server)
    assert (ended.returncode, models(ingest)) == (0, ["after", "before", "child", "parent"]), ended.stderr
    assert sum(ingest.batches) == 4


# --- the same for event loops ---


async def _both_ways(server: Serving) -> AsyncRecorder:
    async with AsyncRecorder(*server.arguments, limits=QUICK) as recorder:
        for _ in range(700):
            assert await recorder.record(saying())
        assert await recorder.flush(20)
        assert (recorder.delivered, recorder.refused, recorder.dropped, recorder.waiting) == (700, 0, 0, 0)
    return recorder


def test_async_records_arrive_and_broken_streams_are_opened_again(server: Serving, ingest: Ingest) -> None:
    ingest.breaks = [grpc.StatusCode.UNAVAILABLE]
    recorder = asyncio.run(_both_ways(server))
    assert len(ingest.stored) == 700
    assert recorder.delivered == 700
    assert sum(ingest.batches) > 700


def test_async_a_full_buffer_drops_or_waits_and_closing_counts(
    server: Serving, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        ingest.open.clear()
        limits = Limits(records=1, batch_seconds=0.0, first_pause=0.001)
        drops: list[int] = []
        dropping = AsyncRecorder(*server.arguments, limits=limits, on_drop=drops.append)
        assert await dropping.record(saying(MARKER))
        assert await asyncio.to_thread(ingest.entered.wait, 20)
        assert await dropping.record(saying(MARKER)) is None
        assert (dropping.dropped, drops) == (1, [1])
        assert not await dropping.flush(0)
        assert not await dropping.close(0)
        assert (dropping.delivered, dropping.dropped, drops) == (0, 2, [1, 1])
        assert await dropping.record(saying()) is None

        waiting = AsyncRecorder(*server.arguments, limits=limits, wait_when_full=FOR_EVER)
        assert await waiting.record(saying())
        second = asyncio.create_task(waiting.record(saying()))
        await asyncio.sleep(0)
        assert not second.done()
        ingest.open.set()
        assert await second
        cancelled = asyncio.create_task(waiting.record(saying()))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert await waiting.close(20)
        assert waiting.delivered + waiting.dropped == 3

    asyncio.run(play())
    assert "1 records DROPPED" in caplog.text
    assert MARKER not in caplog.text


SLOW = Limits(batch_seconds=3600.0, first_pause=0.001, longest_pause=0.01)


def _closed(begin: Coroutine[Any, Any, None]) -> None:
    """As programs do that know no asyncio.run: nobody cancels the loop's tasks."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin)
    loop.close()


def _left_open(begin: Coroutine[Any, Any, None]) -> None:
    LOOPS.append(asyncio.new_event_loop())
    LOOPS[-1].run_until_complete(begin)


LOOPS: list[asyncio.AbstractEventLoop] = []


@pytest.fixture
def loops() -> Iterator[None]:
    yield
    while LOOPS:
        LOOPS.pop().close()


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("end", [AsyncRecorder.flush, AsyncRecorder.close], ids=["flush", "close"])
@pytest.mark.parametrize("begun", [False, True], ids=["at once", "after its sender slept"])
@pytest.mark.parametrize("ended", [asyncio.run, _closed, _left_open])
def test_what_one_loop_recorded_another_sends(
    server: Serving, ingest: Ingest, end: Callable[..., Any], begun: bool, ended: Callable[..., None]
) -> None:
    recorder = AsyncRecorder(*server.arguments, limits=SLOW)
    failed: list[dict[str, Any]] = []

    async def begin() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        assert await recorder.record(saying())
        if begun:
            await asyncio.sleep(0)

    ended(begin())
    ended(begin())
    assert asyncio.run(end(recorder, 20))
    assert (len(ingest.stored), recorder.delivered, recorder.dropped) == (2, 2, 0)
    assert asyncio.run(recorder.close(20))
    gc.collect()
    assert failed == []


def test_a_loop_that_ends_while_its_record_is_under_way_loses_nothing(
    server: Serving, ingest: Ingest
) -> None:
    recorder = AsyncRecorder(*server.arguments, limits=QUICK)

    async def begin() -> None:
        ingest.open.clear()
        await recorder.record(saying())
        assert await asyncio.to_thread(ingest.entered.wait, 20)

    async def go_on() -> None:
        ingest.open.set()
        await recorder.record(saying())
        assert await recorder.close(20)

    asyncio.run(begin())
    asyncio.run(go_on())
    assert (recorder.delivered, recorder.dropped, len(ingest.stored)) == (2, 0, 2)


def test_whoever_waited_in_a_loop_that_was_closed_stops_no_one(server: Serving, ingest: Ingest) -> None:
    recorder = AsyncRecorder(*server.arguments, limits=QUICK)
    ingest.open.clear()

    async def begin() -> asyncio.Task[bool]:
        await recorder.record(saying())
        flushing = asyncio.create_task(recorder.flush())
        assert await asyncio.to_thread(ingest.entered.wait, 20)
        return flushing

    loop = asyncio.new_event_loop()
    flushing = loop.run_until_complete(begin())
    loop.close()
    ingest.open.set()
    assert asyncio.run(recorder.close(20))
    assert (flushing.done(), recorder.delivered) == (False, 1)
    flushing.get_coro().close()  # a task of no loop is nobody's to end


def test_a_recorder_that_nobody_holds_sends_what_it_took(server: Serving, ingest: Ingest) -> None:
    script = f"""
        import asyncio, gc
        from kept.client import AsyncRecorder
        async def main():
            forgotten = AsyncRecorder({server.address!r}, *map(Path, {[str(each) for each in server.arguments[1:]]!r}))
            await forgotten.record(interactions_pb2.Interaction(model='async'))
        asyncio.run(main())
        gc.collect()
        record('thread')
        del recorder
        gc.collect()
    """
    ended = run(script, server)
    assert (ended.returncode, ended.stderr, models(ingest)) == (0, "", ["async", "thread"])


# --- the end of the process ---


class Ill:
    """Cannot be told anything."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def after_fork(self) -> None:
        self.told.append("fork")
        raise RuntimeError(MARKER)

    def at_exit(self) -> None:
        self.told.append("exit")
        raise RuntimeError(MARKER)


def test_one_that_cannot_be_told_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    living = [Ill(told), Ill(told)]
    monkeypatch.setattr(lifetimes, "_living", living)
    lifetimes._after_fork()
    lifetimes._at_exit()
    assert told == ["fork", "fork", "exit", "exit"]
    assert caplog.messages == ["kept: a recorder raised RuntimeError at a fork or at the end"] * 4


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_a_child_of_multiprocessing_sends_its_last_records(
    server: Serving, ingest: Ingest, start: str
) -> None:
    """It ends with os._exit, and atexit's functions do not run."""
    in_child = (
        "import __main__; __main__.record('child')"
        if start == "fork"
        else f"""
from pathlib import Path
from kept.client import BackgroundRecorder
from kept.logging.v1 import interactions_pb2
BackgroundRecorder({server.address!r}, *map(Path, {[str(each) for each in server.arguments[1:]]!r})).record(
    interactions_pb2.Interaction(model='child')
)
"""
    )
    script = f"""
        import multiprocessing
        record('parent')
        child = multiprocessing.get_context({start!r}).Process(target=exec, args=({in_child!r},))
        child.start()
        child.join(30)
        sys.exit(child.exitcode)
    """
    ended = run(script, server)
    assert (ended.returncode, ended.stderr, models(ingest)) == (0, "", ["child", "parent"])


def test_the_package_is_light_until_a_name_is_asked_for() -> None:
    check = (
        "import sys, kept.client, kept.litellm, kept.cli; "
        "heavy = {'grpc', 'grpc.aio', 'litellm', 'google.protobuf'} & set(sys.modules); "
        "assert not heavy, heavy; from kept.client import AsyncRecorder, Limits; assert 'litellm' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")

"""Recording in the background for programs that run an event loop: the same promises as BackgroundRecorder, a task in place of the
thread. One loop at a time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from kept.client import lifetimes
from kept.client.background import DEADLINE_SECONDS
from kept.client.clock import system_now
from kept.client.connection import channel_options, target
from kept.client.delivery import Batch, Counted, Delivery, Limits, Offer
from kept.client.errors import KeptError, from_rpc_error
from kept.client.gateway_channel import GatewayFiles
from kept.client.record_ids import RecordIds
from kept.client.reports import OnDrop, OnRefusal, Reports
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2

if TYPE_CHECKING:
    import grpc.aio

_CANCEL_SECONDS: Final = 2.0

AsyncSend = Callable[[Sequence[interactions_pb2.Interaction]], Awaitable[list[ingest_pb2.Receipt]]]
AsyncClose = Callable[[], Awaitable[object]]


class AsyncRecorder(Counted):
    """Records for one gateway, in the background of one event loop. Close it, or use it in an `async with`; at exit a loop is gone, and
    what was not flushed is dropped, and said.

    Arguments and counters as for BackgroundRecorder.
    """

    def __init__(
        self,
        address: str,
        certificate: Path,
        key: Path,
        authority: Path,
        *,
        limits: Limits | None = None,
        wait_when_full: float = 0.0,
        exit_timeout: float = 5.0,
        on_drop: OnDrop | None = None,
        on_refusal: OnRefusal | None = None,
        now: Callable[[], datetime] = system_now,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[], tuple[AsyncSend, AsyncClose]] | None = None,
    ) -> None:
        def over_grpc() -> tuple[AsyncSend, AsyncClose]:
            made = _Stream(address, GatewayFiles(certificate, key, authority))
            return made.send, made.close

        self._address = address
        self._limits = limits or Limits()
        self._wait_when_full = wait_when_full
        self._exit_timeout = exit_timeout
        self._reports = Reports(on_drop, on_refusal)
        self._now = now
        self._clock = clock
        self._connect = connect or over_grpc
        self._begin()
        lifetimes.follow(self)

    def _begin(self) -> None:
        """Everything that is of one process."""
        self._ids = RecordIds(self._now)
        self._delivery = Delivery(self._limits)
        # Set and replaced at each change: whoever waits takes the current one.
        self._changed = asyncio.Event()
        self._send, self._disconnect = self._connect()
        self._task: asyncio.Task[None] | None = None
        self._flushing = 0
        self._sleeps_until: float | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncRecorder({self._address!r})"

    async def record(self, interaction: interactions_pb2.Interaction) -> bytes | None:
        """Takes a copy, to be sent soon. Returns its record id, a new one where it has none; None when it was dropped: no room, or
        closed. Never raises for what the service does."""
        held = interactions_pb2.Interaction()
        held.CopyFrom(interaction)
        if not held.record_id:
            held.record_id = self._ids.mint()
        record_id = held.record_id
        offer: Offer = Offer.FULL
        receipt: ingest_pb2.Receipt | None = None
        until = self._clock() + self._wait_when_full
        try:
            while not self._closed:
                offer, receipt = self._delivery.offer(held, self._clock())
                left = until - self._clock()
                if offer is not Offer.FULL or left <= 0:
                    break
                self._start()
                await self._wait(left)
        finally:  # who waited for room may have been cancelled
            if offer is Offer.FULL:
                self._delivery.drop()
                self._reports.say(self._delivery.news(self._clock()))
                self._reports.dropped(1)
        self._start()
        self._wake()
        if receipt is not None:
            self._reports.refused([receipt])
        return None if offer is Offer.FULL else record_id

    async def flush(self, timeout: float | None = None) -> bool:
        """Sends what is held without waiting for company. True when every record that was taken before this call has its answer,
        delivered or refused; False when `timeout` seconds were not enough, or the recorder was closed. None waits for ever."""
        dropped_before, last = self._delivery.dropped, self._delivery.last
        until = None if timeout is None else self._clock() + timeout
        self._flushing += 1
        if self._delivery.waiting:  # in a new loop nobody may send yet
            self._start()
        self._tell_all()
        try:
            while not self._delivery.is_done(last):
                left = None if until is None else until - self._clock()
                if left is not None and left <= 0:
                    return False
                await self._wait(left)
        finally:
            self._flushing -= 1
        return not (self._closed and self._delivery.dropped > dropped_before)

    async def close(self, timeout: float | None = None) -> bool:
        """Flushes for `timeout` seconds (None: exit_timeout) and ends. What is left then is dropped, and said. Returns whether nothing
        was left. Closing again does nothing."""
        if not self._closed:
            self._delivery.hasten()
            await self.flush(self._exit_timeout if timeout is None else timeout)
        left = self._end()
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        await self._disconnect()
        self._reports.dropped(left)
        return left == 0

    def _end(self) -> int:
        left = 0 if self._closed else self._delivery.abandon()
        self._closed = True
        self._tell_all()
        self._reports.say(self._delivery.news(self._clock(), at_once=True))
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def after_fork(self) -> None:
        """In a child: an empty buffer, counters at zero, a task and a connection of its own."""
        closed = self._closed
        self._begin()
        self._closed = closed

    def at_exit(self) -> None:
        """The loop is gone: what is left is dropped, and said."""
        self._reports.dropped(self._end())

    # --- the task ---

    def _start(self) -> None:
        if self._closed or (self._task is not None and not self._task.done()):
            return
        if self._task is not None:  # the loop that it ran in has ended, and the channel with it
            self._send, self._disconnect = self._connect()
            # What was waited for there cannot be waited for here.
            self._sleeps_until = None
            self._tell_all()
        self._task = asyncio.create_task(self._run(), name="kept-recorder")

    def _wake(self) -> None:
        """Wakes the task where it would sleep too long; not for each record."""
        wake = self._delivery.wake_at(self._clock(), hurry=self._flushing > 0)
        if wake is not None and (self._sleeps_until is None or wake < self._sleeps_until):
            self._tell_all()

    def _tell_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _wait(self, seconds: float | None) -> None:
        """Until something changes, or so long."""
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    async def _run(self) -> None:
        while not self._closed:
            now = self._clock()
            hurry = self._flushing > 0
            self._reports.say(self._delivery.news(now))
            batch = self._delivery.next_batch(now, hurry=hurry)
            if batch is not None:
                await self._deliver(batch)
                continue
            wake = self._sleeps_until = self._delivery.wake_at(now, hurry=hurry)
            await self._wait(None if wake is None else max(0.0, wake - now))

    async def _deliver(self, batch: Batch) -> None:
        receipts: list[ingest_pb2.Receipt] = []
        failure: KeptError | None = None
        try:
            receipts = await self._send(batch.interactions)
        except KeptError as error:
            failure = error
        except asyncio.CancelledError:
            # Whoever cancelled did not drop the records; in another loop they go again.
            self._delivery.failed(batch, _cancelled(), self._clock())
            raise
        except Exception as error:  # noqa: BLE001 - the task must not end while records wait; grpc raises what it likes
            failure = KeptError("INTERNAL", f"Sending raised {type(error).__name__}.")
        now = self._clock()
        if failure is None:
            refused = self._delivery.answered(batch, receipts, now)
        else:
            refused = self._delivery.failed(batch, failure, now)
        self._tell_all()
        self._reports.refused(refused)


def _cancelled() -> KeptError:
    return KeptError("CANCELLED", "The event loop ended the call.", status="CANCELLED", service="logging")


class _Stream:
    """The channel of one gateway, made anew when one of its files changed."""

    def __init__(self, address: str, files: GatewayFiles) -> None:
        self._address = address
        self._files = files
        self._made: tuple[tuple[int, ...], grpc.aio.Channel] | None = None

    async def send(self, interactions: Sequence[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        """One batch, one answer. Raises KeptError."""
        import grpc.aio

        channel = await self._channel()
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        receipts: list[ingest_pb2.Receipt] = []
        call = stub.RecordInteractions(_once(interactions), timeout=DEADLINE_SECONDS)
        try:
            async for answer in call:
                receipts.extend(answer.receipts)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "logging") from None
        if not receipts:
            raise KeptError(
                "NOT_REACHABLE", "The stream ended early.", status="UNAVAILABLE", service="logging"
            )
        if len(receipts) != len(interactions):
            raise KeptError(
                "INTERNAL", "The logging service answered a batch with another number of receipts."
            )
        return receipts

    async def _channel(self) -> "grpc.aio.Channel":
        import grpc.aio

        try:
            version = self._files.version()
            if self._made is not None and self._made[0] == version:
                return self._made[1]
            credentials = self._files.credentials()
        except KeptError:
            if self._made is not None:  # the files are being replaced: the last channel serves on
                return self._made[1]
            raise
        await self.close()
        channel = grpc.aio.secure_channel(
            target(self._address), credentials, options=channel_options("logging", self._address)
        )
        self._made = (version, channel)
        return channel

    async def close(self) -> None:
        """Closes the channel."""
        made, self._made = self._made, None
        if made is not None:
            await made[1].close(None)


async def _once(
    interactions: Sequence[interactions_pb2.Interaction],
) -> AsyncIterator[ingest_pb2.RecordInteractionsRequest]:
    yield ingest_pb2.RecordInteractionsRequest(interactions=interactions)

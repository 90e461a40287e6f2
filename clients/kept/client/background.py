"""Recording in the background, for gateways that may not wait: `record` returns at once, a thread sends batches.

What is promised: at least once (the same id goes again until it is answered, and the service stores an id once), bounded memory, and
no silence about a loss. The decisions are kept.client.delivery's; here are the thread, the lock and the clock.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from kept.client import lifetimes
from kept.client.clock import system_now
from kept.client.delivery import Batch, Counted, Delivery, Limits, News, Offer
from kept.client.errors import KeptError
from kept.client.record_ids import RecordIds
from kept.client.recorder import Recorder
from kept.client.reports import OnDrop, OnRefusal, Reports
from kept.logging.v1 import ingest_pb2, interactions_pb2

# A batch is answered after its commit; what takes longer than this is sent again over another stream.
DEADLINE_SECONDS: Final = 30.0
# How long closing waits for a call that it has just cut off.
_JOIN_SECONDS: Final = 2.0

Send = Callable[[Sequence[interactions_pb2.Interaction]], list[ingest_pb2.Receipt]]


class BackgroundRecorder(Counted):
    """Records for one gateway, in the background. Thread-safe and safe to fork; close it, or use it in a `with`.

    address, certificate, key, authority: as for Recorder. limits: buffer, batches, pauses. wait_when_full: seconds that `record` waits
    for room when the buffer is full; 0 drops at once. exit_timeout: seconds for what is left when the `with` or the process ends.
    on_drop: called with how many records were dropped; on_refusal: with the receipt of each final refusal; from the thread that
    noticed, outside of locks. now: the clock that ids are minted by; clock: one that never goes back, in seconds. connect: makes what
    sends a batch and closes it, for tests.

    delivered: records with a receipt that says stored or stored before, with or without content, as the policy is. refused: records
    that the service will never take, with the reason. dropped: records that were never answered and never will be: no room, or left
    over at the end. They count since this object was made, or since the process was forked.
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
        connect: Callable[[], tuple[Send, Callable[[], object]]] | None = None,
    ) -> None:
        def over_grpc() -> tuple[Send, Callable[[], object]]:
            # The pauses are Delivery's, which can be cut short; so each call is tried once.
            made = Recorder(
                address, certificate, key, authority, now=now, pauses=(), deadline=DEADLINE_SECONDS
            )
            return made.record, made.close

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
        # Whoever changes the state tells all: the thread, those who wait for room, those who flush.
        self._changed = threading.Condition()
        self._send, self._disconnect = self._connect()
        self._thread: threading.Thread | None = None
        self._flushing = 0
        self._sleeps_until: float | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"BackgroundRecorder({self._address!r})"

    def record(self, interaction: interactions_pb2.Interaction) -> bytes | None:
        """Takes a copy, to be sent soon. Returns its record id, a new one where it has none; None when it was dropped: no room, or
        closed. Never raises for what the service does."""
        held = interactions_pb2.Interaction()
        held.CopyFrom(interaction)
        if not held.record_id:
            held.record_id = self._ids.mint()
        record_id = held.record_id
        receipt: ingest_pb2.Receipt | None = None
        news: News | None = None
        with self._changed:
            offer = Offer.FULL
            if not self._closed:
                offer, receipt = self._delivery.offer(held, self._clock())
                if offer is Offer.FULL and self._wait_when_full > 0:
                    offer, receipt = self._offer_when_room(held)
            if offer is Offer.FULL:
                self._delivery.drop()
                # Said from here: the thread may be waiting for an answer.
                news = self._delivery.news(self._clock())
            self._start()
            self._wake()
        self._reports.say(news)
        if receipt is not None:
            self._reports.refused([receipt])
        if offer is Offer.FULL:
            self._reports.dropped(1)
            return None
        return record_id

    def _offer_when_room(self, held: interactions_pb2.Interaction) -> tuple[Offer, ingest_pb2.Receipt | None]:
        until = self._clock() + self._wait_when_full
        offer: Offer = Offer.FULL
        receipt: ingest_pb2.Receipt | None = None
        while offer is Offer.FULL and not self._closed and (left := until - self._clock()) > 0:
            self._changed.wait(left)
            offer, receipt = self._delivery.offer(held, self._clock())
        return offer, receipt

    def flush(self, timeout: float | None = None) -> bool:
        """Sends what is held without waiting for company. True when every record that was taken before this call has its answer,
        delivered or refused; False when `timeout` seconds were not enough, or the recorder was closed. None waits for ever."""
        with self._changed:
            dropped_before = self._delivery.dropped
            last = self._delivery.last
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._delivery.is_done(last), timeout)
            finally:
                self._flushing -= 1
            done = self._delivery.is_done(last)
            return done and not (self._closed and self._delivery.dropped > dropped_before)

    def close(self, timeout: float | None = None) -> bool:
        """Flushes for `timeout` seconds (None: exit_timeout) and ends. What is left then is dropped, and said. Returns whether nothing
        was left. Closing again does nothing."""
        if not self._closed:
            with self._changed:
                self._delivery.hasten()
            self.flush(self._exit_timeout if timeout is None else timeout)
        with self._changed:
            left = 0 if self._closed else self._delivery.abandon()
            self._closed = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        self._disconnect()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)
            self._disconnect()  # a call that began in between made the channel anew
        with self._changed:
            news = self._delivery.news(self._clock(), at_once=True)
        self._reports.say(news)
        self._reports.dropped(left)
        return left == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a child: an empty buffer, counters at zero, a thread and a connection of its own. What the parent holds the parent
        sends."""
        closed = self._closed
        self._begin()
        self._closed = closed

    def at_exit(self) -> None:
        """Sends what is left, for exit_timeout."""
        self.close()

    # --- the thread ---

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="kept-recorder", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        """Wakes the thread where it would sleep too long; not for each record."""
        wake = self._delivery.wake_at(self._clock(), hurry=self._flushing > 0)
        if wake is not None and (self._sleeps_until is None or wake < self._sleeps_until):
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                batch, news = self._next()
                while batch is None and news is None:
                    if self._closed:
                        return
                    now = self._clock()
                    self._sleeps_until = self._delivery.wake_at(now, hurry=self._flushing > 0)
                    self._changed.wait(
                        None if self._sleeps_until is None else max(0.0, self._sleeps_until - now)
                    )
                    batch, news = self._next()
            self._reports.say(news)
            if batch is not None:
                self._deliver(batch)

    def _next(self) -> tuple[Batch | None, News | None]:
        now = self._clock()
        return self._delivery.next_batch(now, hurry=self._flushing > 0), self._delivery.news(now)

    def _deliver(self, batch: Batch) -> None:
        receipts: list[ingest_pb2.Receipt] = []
        failure: KeptError | None = None
        try:
            receipts = self._send(batch.interactions)
        except KeptError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the thread must not end while records wait; grpc raises what it likes
            failure = KeptError("INTERNAL", f"Sending raised {type(error).__name__}.")
        with self._changed:
            now = self._clock()
            if failure is None:
                refused = self._delivery.answered(batch, receipts, now)
            else:
                refused = self._delivery.failed(batch, failure, now)
            self._changed.notify_all()
        self._reports.refused(refused)

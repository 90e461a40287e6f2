"""The thread behind a recorder in the background, and what it shares with those who record: the lock, the clock, the end.

The decisions are kept.client.delivery's. BackgroundRecorder and AsyncRecorder are its two faces: one waits by the lock, the other in
an event loop. The thread belongs to the process: no event loop that ends takes records with it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from kept.client import lifetimes
from kept.client.clock import system_now
from kept.client.delivery import Batch, Delivery, Limits, News, Offer
from kept.client.errors import KeptError
from kept.client.record_ids import RecordIds
from kept.client.recorder import Recorder
from kept.client.reports import OnDrop, OnRefusal, Reports
from kept.logging.v1 import ingest_pb2, interactions_pb2

# A batch is answered after its commit; what takes longer than this is sent again over another stream.
_DEADLINE_SECONDS: Final = 30.0
# How long closing waits for a call that it has just cut off.
_JOIN_SECONDS: Final = 2.0

Send = Callable[[Sequence[interactions_pb2.Interaction]], list[ingest_pb2.Receipt]]


@dataclass
class Entry:
    """A record on its way in, and what became of it at once."""

    interaction: interactions_pb2.Interaction = field(repr=False)
    offer: Offer = Offer.FULL
    receipt: ingest_pb2.Receipt | None = None


class Sending:
    """Records for one gateway, in the background. Thread-safe and safe to fork.

    address, certificate, key, authority: as for Recorder. limits: buffer, batches, pauses. wait_when_full: seconds that `record` waits
    for room when the buffer is full; 0 drops at once. exit_timeout: seconds for what is left when the `with` or the process ends.
    on_drop: called with how many records were dropped; on_refusal: with the receipt of each final refusal; from the thread that
    noticed, outside of locks. now: the clock that ids are minted by; clock: one that never goes back, in seconds. connect: makes what
    sends a batch and closes it, for tests.

    delivered: records with a receipt that says stored or stored before, with or without content, as the policy is. refused: records
    that the service will never take, with the reason. dropped: records that were never answered and never will be: no room, or left
    over at the end. They count since this object was made, or since the process was forked. waiting: records that are held, those
    under way included.
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
                address, certificate, key, authority, now=now, pauses=(), deadline=_DEADLINE_SECONDS
            )
            return made.record, made.close

        self._address = address
        self._limits = limits or Limits()
        self._wait_when_full = _waitable(wait_when_full)
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
        # Whoever changes the state tells all: the thread, those who wait for room, those who flush; and by the callbacks those who may
        # not wait for a lock.
        self._changed = threading.Condition()
        self._on_change: set[Callable[[], object]] = set()
        self._send, self._disconnect = self._connect()
        self._thread: threading.Thread | None = None
        self._flushing = 0
        self._sleeps_until: float | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"

    @property
    def delivered(self) -> int:
        """Records that have their receipt."""
        return self._delivery.delivered

    @property
    def refused(self) -> int:
        """Records that were finally refused."""
        return self._delivery.refused

    @property
    def dropped(self) -> int:
        """Records that are lost."""
        return self._delivery.dropped

    @property
    def waiting(self) -> int:
        """Records that are held: waiting or under way."""
        return self._delivery.waiting

    def after_fork(self) -> None:
        """In a child: an empty buffer, counters at zero, a thread and a connection of its own. What the parent holds the parent
        sends."""
        closed = self._closed
        self._begin()
        self._closed = closed

    def at_exit(self) -> None:
        """Sends what is left, for exit_timeout."""
        self._close(None)

    # --- what those who record do, and how they wait between ---

    def _entry(self, interaction: interactions_pb2.Interaction) -> Entry:
        """A copy, with a new id where it has none."""
        copy = interactions_pb2.Interaction()
        copy.CopyFrom(interaction)
        if not copy.record_id:
            copy.record_id = self._ids.mint()
        return Entry(copy)

    def _is_decided(self, entry: Entry) -> bool:
        """Offers it, with the lock held; False: there is no room now, and there may be later."""
        self._start()
        if not self._closed:
            entry.offer, entry.receipt = self._delivery.offer(entry.interaction, self._clock())
        return self._closed or entry.offer is not Offer.FULL

    def _settle(self, entry: Entry) -> bytes | None:
        """Ends its offer, for whatever reason it ended: the record's id, or None when it is dropped."""
        news: News | None = None
        with self._changed:
            if entry.offer is Offer.FULL:
                self._delivery.drop()
                # Said from here: the thread may be waiting for an answer.
                news = self._delivery.news(self._clock())
            self._wake()
        self._reports.say(news)
        if entry.receipt is not None:
            self._reports.refused([entry.receipt])
        if entry.offer is Offer.FULL:
            self._reports.dropped(1)
            return None
        return entry.interaction.record_id

    @contextmanager
    def _hurrying(self, *, last_chance: bool = False) -> Iterator[int]:
        """Within it no record waits for company; with last_chance none sits through a pause either. Gives the number of the last record
        that was taken before."""
        with self._changed:
            last = self._delivery.last
            self._flushing += 1
            if last_chance:
                self._delivery.hasten()
            if self._delivery.waiting:  # there may have been no thread to be had
                self._start()
            self._changed.notify_all()
        try:
            yield last
        finally:
            with self._changed:
                self._flushing -= 1

    def _flush(self, timeout: float | None, *, last_chance: bool = False) -> bool:
        """Waits by the lock until all that was taken before has ended; whether it was answered."""
        with self._hurrying(last_chance=last_chance) as last, self._changed:
            seconds = None if timeout is None else _waitable(timeout)
            self._changed.wait_for(lambda: self._delivery.is_done(last), seconds)
            return self._delivery.is_answered(last)

    def _close(self, timeout: float | None) -> bool:
        if not self._closed:
            self._flush(self._exit_timeout if timeout is None else timeout, last_chance=True)
        return self._end()

    def _end(self) -> bool:
        """Drops what is left, and says so; whether nothing was. Waits a moment for the thread. Done again it does nothing."""
        with self._changed:
            left = 0 if self._closed else self._delivery.abandon()
            self._closed = True
            self._tell_all()
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

    def _tell_all(self) -> None:
        """With the lock held."""
        self._changed.notify_all()
        for tell in self._on_change:
            tell()

    # --- the thread ---

    def _start(self) -> None:
        # A thread may have been ended by what no code expects, such as a lack of memory.
        if self._closed or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._run, name="kept-recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # none to be had now: who records, flushes or closes next tries again
            lifetimes.keep(self)
        else:
            self._thread = thread

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
                        None if self._sleeps_until is None else _waitable(max(0.0, self._sleeps_until - now))
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
        except BaseException as error:  # noqa: BLE001 - the thread must not end while records wait; grpc raises what it likes
            failure = KeptError("INTERNAL", f"Sending raised {type(error).__name__}.")
        with self._changed:
            now = self._clock()
            if failure is None:
                refused = self._delivery.answered(batch, receipts, now)
            else:
                refused = self._delivery.failed(batch, failure, now)
            self._tell_all()
        self._reports.refused(refused)


def _waitable(seconds: float) -> float:
    """No lock can be waited for longer than some centuries: infinity is an OverflowError."""
    return min(seconds, threading.TIMEOUT_MAX)

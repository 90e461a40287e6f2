"""Recording over streams of batches against bare binary COPY of as many rows of as many bytes, in turns, on the same PostgreSQL server."""

import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from bench.bare_copy import BareTable
from bench.figures import Figure, in_turns, median_ratio
from bench.logging_service import (
    CONTENT_BYTES,
    Logging,
    logging_running,
    screening_stopped,
    wait_for_screening,
)
from kept.logging.v1 import ingest_pb2
from shared.clock import SystemClock

# Two processes of logging, for one interpreter does one thing at a time and there are two cores; a stream to each, for of two batches
# each waits for the other, and takes its place in the caches.
_PROCESSES: Final = 2
_STREAMS: Final = 2
# As many as the Python client sends at once.
_BATCH: Final = 1000
_METHOD: Final = "/kept.logging.v1.IngestService/RecordInteractions"
_STORED: Final = ingest_pb2.OUTCOME_STORED


def measure(small: bool) -> Iterator[Figure]:
    """`ingest_ratio`, the same while all is screened on the same processors, and the rows a second that they are made of."""
    rows, rounds = (2_000, 3) if small else (20_000, 7)
    with logging_running(_PROCESSES) as there, BareTable(there.postgres) as table:
        ingest = Streams(there, rows)
        alone, screened = against_copy(there, table, ingest, rows, rounds)
    how = (
        f"rows/s recorded by {_PROCESSES} processes over {_STREAMS} streams in batches of {_BATCH}, sealed, durable, over mTLS, "
        f"÷ rows/s of bare binary COPY; {rows} rows of {CONTENT_BYTES} bytes a turn"
    )
    yield from figures(alone, "ingest_ratio", "ingest_rows_per_s", rows, how)
    yield from figures(screened, "ingest_screened_ratio", "ingest_screened_rows_per_s", rows, how)


class Recording(Protocol):
    """Records so many at each call; `prepare` makes those of the next."""

    def prepare(self) -> None: ...

    def __call__(self) -> None: ...


@dataclass(frozen=True)
class Turns:
    """Seconds of recording and of COPY, turn by turn. said: what went on beside."""

    recorded: list[float]
    copied: list[float]
    said: str


def against_copy(
    there: Logging, table: BareTable, recording: Recording, rows: int, rounds: int
) -> tuple[Turns, Turns]:
    """Recording and COPY in turns: while nothing is screened, and while all of it is."""

    def turns(catch_up: Callable[[], None], said: str) -> Turns:
        def between() -> None:
            recording.prepare()
            catch_up()

        return Turns(*in_turns(recording, lambda: table.copy(rows), rounds, between), said)

    with screening_stopped(there) as catch_up:
        alone = turns(catch_up, "not screened meanwhile")
    return alone, turns(partial(wait_for_screening, there), "screened meanwhile")


def figures(turns: Turns, ratio: str, rate: str, rows: int, how: str) -> Iterator[Figure]:
    """A ratio and rows a second, under these names. What screening costs is a figure of its own (bench.screen_ingest_cost)."""
    value = 1 / median_ratio(turns.recorded, turns.copied)
    yield Figure(ratio, value, "ratio", True, f"{how}; {turns.said}")
    yield Figure(rate, rows / statistics.median(turns.recorded), "rows/s", True, "recorded, of it")


class Streams:
    """So many rows at each call, all answered when it returns. Messages are made before, by `prepare`, and what the answers say is looked
    at after, by the next: to read receipts is the gateway's, which has processors of its own."""

    def __init__(self, there: Logging, rows: int, content: int = CONTENT_BYTES) -> None:
        self._there = there
        self._rows = rows
        self._content = content
        self._send: list[Any] = [
            there.channel(process).stream_stream(_METHOD, lambda message: message, lambda answer: answer)
            for process in range(len(there.addresses))
        ]
        self._batches: Sequence[bytes] = ()
        self._answers: list[bytes] = []
        self.prepare()

    def prepare(self) -> None:
        """Rows for the next call. Raises RuntimeError where those of the last are not all stored."""
        for answer in self._answers:
            for receipt in ingest_pb2.RecordInteractionsResponse.FromString(answer).receipts:
                if receipt.outcome != _STORED:
                    raise RuntimeError(f"not stored: {receipt.reason}")
        self._answers.clear()
        self._batches = [
            self._batch(min(_BATCH, self._rows - start)) for start in range(0, self._rows, _BATCH)
        ]

    def _batch(self, size: int) -> bytes:
        now = SystemClock().now()
        made = [self._there.interaction(now, self._content) for _ in range(size)]
        return ingest_pb2.RecordInteractionsRequest(interactions=made).SerializeToString()

    def __call__(self) -> None:
        failures: list[str] = []

        def stream(number: int) -> None:
            send, batches = self._send[number % len(self._send)], self._batches[number::_STREAMS]
            try:
                self._answers.extend(send(iter(batches), timeout=120))
            except Exception as error:  # noqa: BLE001 - told after all have ended
                failures.append(str(error))

        threads = [threading.Thread(target=stream, args=(number,)) for number in range(_STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])

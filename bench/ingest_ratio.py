"""Recording over streams of batches against bare binary COPY of as many rows of as many bytes, in turns, on the same PostgreSQL server."""

import statistics
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc

from bench.bare_copy import BareTable
from bench.figures import Figure, in_turns, median_ratio
from bench.logging_service import CONTENT_BYTES, Logging, logging_running
from kept.logging.v1 import ingest_pb2
from shared.clock import SystemClock
from shared.ids import new_record_id

_STREAMS: Final = 4
_BATCH: Final = 500
_METHOD: Final = "/kept.logging.v1.IngestService/RecordInteractions"
_STORED: Final = ingest_pb2.OUTCOME_STORED


def measure(small: bool) -> Iterator[Figure]:
    """`ingest_ratio`, and the rows a second that it is made of."""
    rows, rounds = (2_000, 3) if small else (20_000, 7)
    with logging_running() as there, there.channel() as channel, BareTable(there.postgres) as table:
        ingest = Streams(there, channel, rows)
        recorded, copied = in_turns(ingest, lambda: table.copy(rows), rounds, between=ingest.prepare)
    yield Figure(
        "ingest_ratio",
        1 / median_ratio(recorded, copied),
        "ratio",
        True,
        f"rows/s recorded over {_STREAMS} streams in batches of {_BATCH}, sealed, durable, screened, over mTLS, one process of it, "
        f"÷ rows/s of bare binary COPY; {rows} rows of {CONTENT_BYTES} bytes a turn",
    )
    yield Figure("ingest_rows_per_s", rows / statistics.median(recorded), "rows/s", True, "recorded")


class Streams:
    """So many rows at each call, all acknowledged as stored when it returns. Messages are made before, by `prepare`."""

    def __init__(
        self, there: Logging, channel: grpc.Channel, rows: int, content: int = CONTENT_BYTES
    ) -> None:
        self._there = there
        self._rows = rows
        self._content = content
        self._send: Any = channel.stream_stream(
            _METHOD, lambda message: message, ingest_pb2.RecordInteractionsResponse.FromString
        )
        self._batches: Sequence[bytes] = ()
        self.prepare()

    def prepare(self) -> None:
        """Rows for the next call: making them is the gateway's."""
        now = SystemClock().now()
        one = self._there.interaction(now, self._content)
        self._batches = [
            self._batch(one, min(_BATCH, self._rows - start)) for start in range(0, self._rows, _BATCH)
        ]

    def _batch(self, one: Any, size: int) -> bytes:
        request = ingest_pb2.RecordInteractionsRequest()
        now = SystemClock().now()
        for _ in range(size):
            one.record_id = new_record_id(now)
            request.interactions.add().CopyFrom(one)
        return request.SerializeToString()

    def __call__(self) -> None:
        failures: list[str] = []

        def stream(batches: Sequence[bytes]) -> None:
            try:
                for answer in self._send(iter(batches), timeout=120):
                    if any(receipt.outcome != _STORED for receipt in answer.receipts):
                        raise RuntimeError(f"not stored: {answer.receipts[0].reason}")
            except Exception as error:  # noqa: BLE001 - told after all have ended
                failures.append(str(error))

        threads = [
            threading.Thread(target=stream, args=(self._batches[start::_STREAMS],))
            for start in range(_STREAMS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])

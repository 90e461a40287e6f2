"""OTLP spans, exported as an OpenTelemetry Collector does, against bare binary COPY of as many rows, in turns, on the same PostgreSQL
server."""

from collections.abc import Iterator, Sequence
from typing import Final

from bench.bare_copy import BareTable
from bench.figures import Figure
from bench.ingest_ratio import against_copy, figures
from bench.logging_service import CONTENT_BYTES, Logging, logging_running
from bench.spans import BATCH, SENDERS, export_all, exports
from kept.logging.v1 import interactions_pb2
from shared.clock import SystemClock

# As many as record over streams (bench.ingest_ratio), with two senders to each.
PROCESSES: Final = 2


class Exporting:
    """So many spans at each call, all of them stored when it returns. They are made before, by `prepare`."""

    def __init__(self, there: Logging, spans: int) -> None:
        self._there = there
        self._channels = [there.channel(process) for process in range(len(there.addresses))]
        self._spans = spans
        self._requests: Sequence[bytes] = ()
        self.sent = 0
        self.prepare()

    def prepare(self) -> None:
        """Spans for the next call: making them is the program's that is observed."""
        resource = {"service.name": "bench", "kept.organization_id": self._there.organization_id}
        self._requests = exports(interactions(self._there, self._spans), resource)

    def __call__(self) -> None:
        export_all(self._channels, self._requests)
        self.sent += self._spans


def interactions(there: Logging, count: int) -> list[interactions_pb2.Interaction]:
    """What so many spans are about."""
    now = SystemClock().now()
    return [there.interaction(now) for _ in range(count)]


def stored(there: Logging) -> int:
    """How many interactions lie in logging's tables."""
    with there.postgres.administration("logging") as connection:
        row = connection.execute("SELECT count(*) FROM interactions WHERE content IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


def measure(small: bool) -> Iterator[Figure]:
    """`otlp_ratio`, the same while all is screened on the same processors, and the rows a second that they are made of."""
    rows, rounds = (2_048, 3) if small else (20_480, 7)
    with logging_running(PROCESSES) as there, BareTable(there.postgres) as table:
        export = Exporting(there, rows)
        alone, screened = against_copy(there, table, export, rows, rounds)
        if stored(there) != export.sent:
            raise RuntimeError(f"{export.sent} spans were taken and {stored(there)} are stored")
    how = (
        f"spans/s exported by OTLP in requests of {BATCH} from {SENDERS} senders, sealed, durable, over mTLS, {PROCESSES} processes of "
        f"logging, ÷ rows/s of bare binary COPY; {rows} of {CONTENT_BYTES} bytes a turn"
    )
    yield from figures(alone, "otlp_ratio", "otlp_rows_per_s", rows, how)
    yield from figures(screened, "otlp_screened_ratio", "otlp_screened_rows_per_s", rows, how)

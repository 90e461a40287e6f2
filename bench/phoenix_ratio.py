"""The same OTLP spans into Kept and into Arize Phoenix, in turns on the same machine, each until all are durable in its PostgreSQL."""

import statistics
from collections.abc import Iterator

import grpc

from bench.figures import Figure, seconds
from bench.logging_service import CONTENT_BYTES, Logging, logging_running, wait_for_screening
from bench.otlp_ratio import PROCESSES, Exporting, interactions, stored
from bench.phoenix_service import VERSION, Phoenix, phoenix_running
from bench.spans import BATCH, SENDERS, export_all, exports


class _Peer:
    """So many spans at each call, all of them stored when it returns."""

    def __init__(self, phoenix: Phoenix, channel: grpc.Channel, kept: Logging, spans: int) -> None:
        self._phoenix = phoenix
        self._kept = kept
        self._channel = channel
        self._spans = spans
        self.sent = 0
        self.prepare()

    def prepare(self) -> None:
        """Spans for the next call, such as Kept gets."""
        self._requests = exports(interactions(self._kept, self._spans), {"service.name": "bench"})

    def __call__(self) -> None:
        export_all([self._channel], self._requests)
        self.sent += self._spans
        self._phoenix.wait_for(self.sent)


def measure(small: bool) -> Iterator[Figure]:
    """`phoenix_ratio`, and the spans a second of both."""
    # Phoenix is given fewer, so that a turn of it does not last minutes; what is compared is spans a second.
    ours, theirs, rounds = (2_048, 512, 2) if small else (20_480, 2_048, 5)
    with (
        logging_running(PROCESSES) as kept,
        phoenix_running() as phoenix,
        phoenix.channel() as to_phoenix,
    ):
        export, peer = Exporting(kept, ours), _Peer(phoenix, to_phoenix, kept, theirs)
        kept_rates, phoenix_rates = [], []
        for number in range(rounds + 1):
            kept_seconds = seconds(export)
            wait_for_screening(kept)  # nothing of ours is left to be done while Phoenix is at it
            phoenix_seconds = seconds(peer)
            if number:  # the first turn warms both up
                kept_rates.append(ours / kept_seconds)
                phoenix_rates.append(theirs / phoenix_seconds)
            export.prepare()
            peer.prepare()
        if (stored(kept), phoenix.stored()) != (export.sent, peer.sent):
            raise RuntimeError("not all that was sent is stored")
    yield Figure(
        "phoenix_ratio",
        statistics.median(a / b for a, b in zip(kept_rates, phoenix_rates, strict=True)),
        "ratio",
        True,
        f"OTLP spans/s durable in Kept (mTLS, sealed, screened, {PROCESSES} processes of logging) ÷ in Arize Phoenix {VERSION} (no TLS, on "
        f"PostgreSQL); {CONTENT_BYTES} bytes each, requests of {BATCH} from {SENDERS} senders; {ours} and {theirs} spans a turn, in turns",
    )
    yield Figure(
        "phoenix_kept_spans_per_s", statistics.median(kept_rates), "spans/s", True, "durable in Kept, of it"
    )
    yield Figure(
        "phoenix_spans_per_s", statistics.median(phoenix_rates), "spans/s", True, "durable in Phoenix, of it"
    )

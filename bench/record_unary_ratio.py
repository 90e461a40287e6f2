"""One interaction recorded by itself, durable when it is answered, against an empty call: one caller, in turns."""

import statistics
from collections.abc import Iterator

from bench.empty_server import CALLER
from bench.figures import Figure, in_turns
from bench.logging_service import CONTENT_BYTES, logging_running
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc
from shared.clock import SystemClock
from shared.ids import new_record_id


def measure(small: bool) -> Iterator[Figure]:
    """`record_unary_ratio`, and the microseconds of a call."""
    calls = 200 if small else 2_000
    clock = SystemClock()
    with (
        logging_running() as there,
        there.channel() as channel,
        there.access_control.channel(CALLER) as bare,
    ):
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        request = ingest_pb2.RecordInteractionRequest(interaction=there.interaction(clock.now()))

        def record() -> None:
            request.interaction.record_id = new_record_id(clock.now())
            receipt = stub.RecordInteraction(request, timeout=30).receipt
            if receipt.outcome != ingest_pb2.OUTCOME_STORED:
                raise RuntimeError(f"not stored: {receipt.reason}")

        empty = there.access_control.empty(bare)
        in_turns(record, empty, calls // 10)  # warm: connections, keys, plans
        recorded, plain = in_turns(record, empty, calls)
    yield Figure(
        "record_unary_ratio",
        statistics.median(recorded) / statistics.median(plain),
        "ratio",
        False,
        f"median RecordInteraction of {CONTENT_BYTES} bytes, sealed and durable, ÷ median empty RPC; {calls} of each in turns, mTLS",
    )
    yield Figure(
        "record_us", statistics.median(recorded) * 1e6, "microseconds", False, "the median call of it"
    )

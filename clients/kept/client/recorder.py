"""The gateway's side: interactions in, receipts out, over one stream of batches.

Each record has an id that was minted once, here or by the caller; the id is the idempotency key, so what was not answered before a
connection broke is simply sent again, and a record that had arrived answers DUPLICATE. A receipt means: durable. A refusal by policy
is a receipt too, with its reason; `retryable` ones may be recorded again later, which is the caller's to decide.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from kept.client.clock import system_now
from kept.client.errors import KeptError
from kept.client.gateway_channel import GatewayChannel, GatewayFiles
from kept.client.reading import PAUSES
from kept.client.record_ids import RecordIds
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2

# The contract takes 6 MiB and 5,000 records a batch; smaller batches are answered sooner and cost less when they are sent again.
BATCH_RECORDS: Final = 1000
BATCH_BYTES: Final = 4 * 1024 * 1024
LARGEST_RECORD: Final = 6 * 1024 * 1024 - 1024
# A tag and a length before each record of a batch.
FRAMING_BYTES: Final = 8


class Recorder:
    """Records for one gateway. Thread-safe; close it, or use it in a `with`.

    address: logging's mTLS port, "host:port". certificate, key: PEM files of the gateway's identity. authority: PEM file of who signed
    the services' certificates. The channel is made anew when one of the files changed. now: the clock that record ids are minted by.
    deadline: seconds for one stream; None waits as long as the connection lives.
    """

    def __init__(
        self,
        address: str,
        certificate: Path,
        key: Path,
        authority: Path,
        *,
        now: Callable[[], datetime] = system_now,
        pauses: Iterable[float] = PAUSES,
        wait: Callable[[float], object] = time.sleep,
        deadline: float | None = None,
    ) -> None:
        self._address = address
        self._channel = GatewayChannel("logging", address, GatewayFiles(certificate, key, authority))
        self._ids = RecordIds(now)
        self._pauses = tuple(pauses)
        self._wait = wait
        self._deadline = deadline

    def __repr__(self) -> str:
        return f"Recorder({self._address!r})"

    def mint(self) -> bytes:
        """A new record id, for a caller that has to know it before it records."""
        return self._ids.mint()

    def record(self, interactions: Iterable[interactions_pb2.Interaction]) -> list[ingest_pb2.Receipt]:
        """Records all of them; one receipt each, in their order. An interaction without an id is given one, in place, so that the
        caller can send the same again. Raises KeptError when the service cannot be reached, or refuses this gateway: what was
        acknowledged until then is durable, and recording the same interactions again is safe."""
        everything = list(interactions)
        for interaction in everything:
            if not interaction.record_id:
                interaction.record_id = self.mint()
        receipts: list[ingest_pb2.Receipt | None] = [None] * len(everything)
        sendable: list[int] = []
        for index, interaction in enumerate(everything):
            if interaction.ByteSize() > LARGEST_RECORD:
                receipts[index] = too_large(interaction.record_id)  # it would end the stream for all others
            else:
                sendable.append(index)
        waiting = list(batches([(index, everything[index].ByteSize()) for index in sendable]))
        failures = 0
        while waiting:
            answered = 0
            try:
                for answered, receipts_of_batch in enumerate(self._send(everything, waiting), start=1):
                    for index, receipt in zip(waiting[answered - 1], receipts_of_batch, strict=True):
                        receipts[index] = receipt
            except KeptError as error:
                failures = 0 if answered else failures
                if error.status != "UNAVAILABLE" or failures == len(self._pauses):
                    raise
                self._wait(self._pauses[failures])
                failures += 1
            waiting = waiting[answered:]
        return [receipt for receipt in receipts if receipt is not None]

    def report_usage(self, report: ingest_pb2.ReportUsageRequest) -> bool:
        """Sends usage counts, for a deployment that records nothing (docs/usage.md); True when this report had been counted before.
        Without a request id it is given one, in place: sent again as it is, it counts once. Raises KeptError when it is refused, or the
        service cannot be reached."""
        if not report.request_id:
            report.request_id = secrets.token_hex(16)
        failures = 0
        while True:
            try:
                answer = ingest_pb2_grpc.IngestServiceStub(self._channel.current()).ReportUsage(
                    report, timeout=self._deadline
                )
                return bool(answer.duplicate)
            except KeptError as error:
                if error.status != "UNAVAILABLE" or failures == len(self._pauses):
                    raise
                self._wait(self._pauses[failures])
                failures += 1

    def _send(
        self, everything: list[interactions_pb2.Interaction], waiting: list[list[int]]
    ) -> Iterator[list[ingest_pb2.Receipt]]:
        """The answers to as many batches as are answered before the stream ends."""
        stub = ingest_pb2_grpc.IngestServiceStub(self._channel.current())
        answers = stub.RecordInteractions(
            (
                ingest_pb2.RecordInteractionsRequest(interactions=[everything[index] for index in batch])
                for batch in waiting
            ),
            timeout=self._deadline,
        )
        count = 0
        for batch, answer in zip(waiting, answers, strict=False):
            count += 1
            if len(answer.receipts) != len(batch):
                raise KeptError(
                    "INTERNAL", "The logging service answered a batch with another number of receipts."
                )
            yield list(answer.receipts)
        if count < len(waiting):
            raise KeptError(
                "NOT_REACHABLE", "The stream ended early.", status="UNAVAILABLE", service="logging"
            )

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batches(sizes: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """(index, bytes) grouped into batches of indices, in order; a large record is a batch of its own."""
    batch: list[int] = []
    total = 0
    for index, size in sizes:
        if batch and (len(batch) == BATCH_RECORDS or total + size > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(index)
        total += size + FRAMING_BYTES
    if batch:
        yield batch


def too_large(record_id: bytes) -> ingest_pb2.Receipt:
    """The receipt of a record that no batch can hold; made here, for sending it would end the stream for all others."""
    return ingest_pb2.Receipt(
        record_id=record_id,
        outcome=ingest_pb2.OUTCOME_REFUSED,
        reason=reasons_pb2.REASON_TOO_LARGE,
        retryable=False,
    )

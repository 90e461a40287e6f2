"""An Export: what is recorded, what is left aside, and what is said about what was rejected.

An exporter that is told of a partial success drops what was rejected and does not send it again. So only what can never be recorded is
rejected; where a record is refused for a reason of the moment the whole Export fails, to be sent again: what was stored is stored once.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kept.logging.v1 import ingest_pb2, interactions_pb2
from services.logging.otlp import events, spans
from services.logging.otlp.facts import Fault, Rejected, facts_of
from services.logging.otlp.figures import LEFT_ASIDE, REJECTED
from services.logging.otlp.unreadable import fault_of
from services.logging.policies import Policies
from services.logging.recording.ingest import MAX_BYTES, MAX_RECORDS, Ingest
from services.logging.records import Row
from services.logging.store.arrivals import Cell
from services.logging.store.writing import Usage
from services.logging.usage.counting import used_by
from shared.enums import short_name
from shared.errors import Reason, peer_unavailable

# An interaction, or why there is none.
_Read = Iterator[interactions_pb2.Interaction | Fault]


@dataclass(frozen=True)
class Rejections:
    """How many were rejected, and for which reasons. The text holds nothing of anybody: reasons and counts."""

    count: int
    text: str


class Exporting:
    """Takes Exports of gateways."""

    def __init__(self, ingest: Ingest, policies: Policies) -> None:
        self._ingest = ingest
        self._policies = policies

    def spans(self, request: trace_service_pb2.ExportTraceServiceRequest, gateway: str) -> Rejections:
        """Records the GenAI spans. Returns once everything that was not rejected is durable. Raises what Ingest.record raises, and
        PEER_UNAVAILABLE when something may be recorded later and not now."""
        maker = _Maker()
        no_calls: set[bytes] = set()
        read = _read_spans(request, self._only(gateway), maker, no_calls)
        return self._record(read, maker, gateway, "span", partial(_used_by_calls, no_calls))

    def events(self, request: logs_service_pb2.ExportLogsServiceRequest, gateway: str) -> Rejections:
        """Records the content events; see `spans`. Usage is counted on spans only."""
        read = _read_events(request, self._only(gateway))
        return self._record(read, _Maker(), gateway, "event", None)

    def _only(self, gateway: str) -> str:
        return self._policies.only_organization_of(gateway)

    def _record(
        self, read: _Read, maker: "_Maker", gateway: str, signal: str, usage: Usage | None
    ) -> Rejections:
        rejected: Counter[str] = Counter()
        is_retryable = False
        for one in _batches(read, maker, rejected):
            for receipt in self._ingest.record(one, gateway, usage=usage).receipts:
                if receipt.outcome == ingest_pb2.OUTCOME_REFUSED:
                    is_retryable = is_retryable or receipt.retryable
                    rejected[short_name(Reason, receipt.reason)] += 1
        if is_retryable:
            raise peer_unavailable("access_control")
        for reason, count in rejected.items():
            REJECTED.labels(signal, reason).inc(count)
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
        return Rejections(rejected.total(), f"rejected: {listed}" if rejected else "")


class _Maker:
    """Makes the interactions of a batch as parts of one message, as they are in a stream: its memory comes and goes in larger pieces, and a
    span takes 2 µs less than with a message of its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Goes on with another message, so that what was made does not stay for as long as what is to be made."""
        self.add = ingest_pb2.RecordInteractionsRequest().interactions.add


def _batches(
    read: Iterable[interactions_pb2.Interaction | Fault], maker: _Maker, rejected: Counter[str]
) -> Iterator[list[interactions_pb2.Interaction]]:
    """The interactions, as many at a time as Ingest takes; the faults are counted."""
    batch: list[interactions_pb2.Interaction] = []
    size = 0
    for one in read:
        if isinstance(one, Fault):
            rejected[one.value] += 1
            continue
        bytes_ = one.ByteSize()
        if bytes_ > MAX_BYTES:
            rejected[Fault.TOO_LARGE.value] += 1
            maker.renew()
            continue
        if batch and (len(batch) == MAX_RECORDS or size + bytes_ > MAX_BYTES):
            maker.renew()
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += bytes_
    if batch:
        yield batch


def _used_by_calls(no_calls: Container[bytes], rows: Sequence[Row]) -> Sequence[Cell]:
    """What was used with those rows that are calls: others happened around them."""
    return used_by([row for row in rows if row.record_id not in no_calls])


def _read_spans(
    request: trace_service_pb2.ExportTraceServiceRequest, only: str, maker: _Maker, no_calls: set[bytes]
) -> _Read:
    for resource in request.resource_spans:
        facts = facts_of(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                if not spans.is_genai(span):
                    LEFT_ASIDE.labels("span").inc()
                    continue
                try:
                    yield spans.interaction_of(span, facts, only, maker.add, no_calls)
                except Rejected as rejected:
                    yield fault_of(span, rejected)


def _read_events(request: logs_service_pb2.ExportLogsServiceRequest, only: str) -> _Read:
    for resource in request.resource_logs:
        facts = facts_of(resource.resource)
        for scope in resource.scope_logs:
            for event in scope.log_records:
                name = events.name_of(event)
                try:
                    found = events.interaction_of(event, name, facts, only) if name else None
                except Rejected as rejected:
                    yield fault_of(event, rejected)
                    continue
                if found is None:
                    LEFT_ASIDE.labels("event").inc()
                else:
                    yield found

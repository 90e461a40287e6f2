"""An Export: what is recorded, what is left aside, and what is said about what was rejected.

An exporter that is told of a partial success drops what was rejected and does not send it again. So only what can never be recorded is
rejected; where a record is refused for a reason of the moment the whole Export fails, to be sent again: what was stored is stored once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from kept.logging.v1 import ingest_pb2, interactions_pb2
from services.logging.otlp import events, spans
from services.logging.otlp.facts import Fault, Rejected, facts_of
from services.logging.otlp.figures import LEFT_ASIDE, REJECTED
from services.logging.otlp.unreadable import fault_of
from services.logging.policies import Policies
from services.logging.recording.ingest import MAX_BYTES, MAX_RECORDS, Ingest
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
        return self._record(_read_spans(request, self._only(gateway)), gateway, "span", is_usage=True)

    def events(self, request: logs_service_pb2.ExportLogsServiceRequest, gateway: str) -> Rejections:
        """Records the content events; see `spans`. Usage is counted on spans only."""
        return self._record(_read_events(request, self._only(gateway)), gateway, "event", is_usage=False)

    def _only(self, gateway: str) -> str:
        return self._policies.only_organization_of(gateway)

    def _record(self, read: _Read, gateway: str, signal: str, *, is_usage: bool) -> Rejections:
        rejected: Counter[str] = Counter()
        is_retryable = False
        for one in _batches(read, rejected):
            for receipt in self._ingest.record(one, gateway, is_usage=is_usage):
                if receipt.outcome == ingest_pb2.OUTCOME_REFUSED:
                    is_retryable = is_retryable or receipt.retryable
                    rejected[short_name(Reason, receipt.reason)] += 1
        if is_retryable:
            raise peer_unavailable("access_control")
        for reason, count in rejected.items():
            REJECTED.labels(signal, reason).inc(count)
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
        return Rejections(rejected.total(), f"rejected: {listed}" if rejected else "")


def _batches(
    read: Iterable[interactions_pb2.Interaction | Fault], rejected: Counter[str]
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
            continue
        if batch and (len(batch) == MAX_RECORDS or size + bytes_ > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += bytes_
    if batch:
        yield batch


def _read_spans(request: trace_service_pb2.ExportTraceServiceRequest, only: str) -> _Read:
    for resource in request.resource_spans:
        facts = facts_of(resource.resource)
        for scope in resource.scope_spans:
            for span in scope.spans:
                if not spans.is_genai(span):
                    LEFT_ASIDE.labels("span").inc()
                    continue
                try:
                    yield spans.interaction_of(span, facts, only)
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

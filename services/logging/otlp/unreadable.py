"""Spans and log records that cannot be parsed: text that is no UTF-8, or attributes of lists in lists without end. What stands in their
place is rejected as MALFORMED; all that came with them is read."""

from typing import Final

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from services.logging.otlp.facts import Fault, Rejected
from shared.items import by_item

# The only attribute of a stand-in. By its beginning it is of a GenAI span. Without ids a span is rejected, without a time a log record.
_KEY: Final = "gen_ai.\0unreadable"
_MARK: Final = [common_pb2.KeyValue(key=_KEY)]
_EVENT: Final = "gen_ai.choice"


def is_stand_in(one: trace_pb2.Span | logs_pb2.LogRecord) -> bool:
    """Whether this stands for what cannot be parsed."""
    return len(one.attributes) == 1 and one.attributes[0].key == _KEY


def fault_of(one: trace_pb2.Span | logs_pb2.LogRecord, rejected: Rejected) -> Fault:
    """Why it was rejected."""
    return Fault.MALFORMED if is_stand_in(one) else rejected.fault


spans_request: Final = by_item(
    trace_service_pb2.ExportTraceServiceRequest.FromString,
    [
        trace_service_pb2.ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER,
        trace_pb2.ResourceSpans.SCOPE_SPANS_FIELD_NUMBER,
        trace_pb2.ScopeSpans.SPANS_FIELD_NUMBER,
    ],
    lambda _: trace_pb2.Span(attributes=_MARK),
)
events_request: Final = by_item(
    logs_service_pb2.ExportLogsServiceRequest.FromString,
    [
        logs_service_pb2.ExportLogsServiceRequest.RESOURCE_LOGS_FIELD_NUMBER,
        logs_pb2.ResourceLogs.SCOPE_LOGS_FIELD_NUMBER,
        logs_pb2.ScopeLogs.LOG_RECORDS_FIELD_NUMBER,
    ],
    lambda _: logs_pb2.LogRecord(event_name=_EVENT, attributes=_MARK),
)

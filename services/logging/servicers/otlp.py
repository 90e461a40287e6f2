"""OTLP's own services (opentelemetry-proto, collector/trace/v1 and collector/logs/v1)."""

from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.logging.otlp.exporting import Exporting
from services.logging.otlp.unreadable import events_request, spans_request
from shared.pipeline import caller_of
from shared.service import Registrar
from shared.unparsed import parsed_with

if TYPE_CHECKING:
    # The generated bases have no types.
    _TraceService = object
    _LogsService = object
else:
    _TraceService = trace_service_pb2_grpc.TraceServiceServicer
    _LogsService = logs_service_pb2_grpc.LogsServiceServicer


class TraceServicer(_TraceService):
    """Where gateways, and OpenTelemetry Collectors that are registered as such, send spans."""

    def __init__(self, exporting: Exporting) -> None:
        self._exporting = exporting

    @parsed_with(spans_request)
    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """See docs/otlp.md."""
        rejections = self._exporting.spans(request, caller_of(context).name)
        response = trace_service_pb2.ExportTraceServiceResponse()
        if rejections.count:
            response.partial_success.rejected_spans = rejections.count
            response.partial_success.error_message = rejections.text
        return response


class LogsServicer(_LogsService):
    """Where they send content events."""

    def __init__(self, exporting: Exporting) -> None:
        self._exporting = exporting

    @parsed_with(events_request)
    def Export(
        self, request: logs_service_pb2.ExportLogsServiceRequest, context: grpc.ServicerContext
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        """See docs/otlp.md."""
        rejections = self._exporting.events(request, caller_of(context).name)
        response = logs_service_pb2.ExportLogsServiceResponse()
        if rejections.count:
            response.partial_success.rejected_log_records = rejections.count
            response.partial_success.error_message = rejections.text
        return response


def add_otlp_servicers(exporting: Exporting, registrar: Registrar) -> None:
    """Registers both."""
    traces: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    logs: Any = logs_service_pb2_grpc.add_LogsServiceServicer_to_server
    traces(TraceServicer(exporting), registrar)
    logs(LogsServicer(exporting), registrar)

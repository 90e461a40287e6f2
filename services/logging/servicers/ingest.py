"""IngestService."""

from collections.abc import Iterator

import grpc

from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc
from services.logging.recording.ingest import MAX_RECORDS, Ingest
from services.logging.usage.reports import Reports
from shared.errors import invalid
from shared.pipeline import caller_of


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Where model gateways record."""

    def __init__(self, ingest: Ingest, reports: Reports) -> None:
        self._ingest = ingest
        self._reports = reports

    def RecordInteraction(
        self, request: ingest_pb2.RecordInteractionRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RecordInteractionResponse:
        """See the contract."""
        [receipt] = self._ingest.record([request.interaction], caller_of(context).name)
        return ingest_pb2.RecordInteractionResponse(receipt=receipt)

    def RecordInteractions(
        self, request_iterator: Iterator[ingest_pb2.RecordInteractionsRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.RecordInteractionsResponse]:
        """See the contract. One batch of a stream is in memory at a time."""
        gateway = caller_of(context).name
        for request in request_iterator:
            if len(request.interactions) > MAX_RECORDS:
                raise invalid("interactions", f"must have at most {MAX_RECORDS} items")
            receipts = self._ingest.record(request.interactions, gateway)
            yield ingest_pb2.RecordInteractionsResponse(receipts=receipts)

    def ReportUsage(
        self, request: ingest_pb2.ReportUsageRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.ReportUsageResponse:
        """See the contract."""
        return ingest_pb2.ReportUsageResponse(duplicate=self._reports.take(request, caller_of(context).name))

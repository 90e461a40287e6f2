"""IngestService."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2
from services.logging.recording.ingest import MAX_RECORDS, Ingest
from services.logging.usage.reports import Reports
from shared.errors import invalid
from shared.items import by_item, fields
from shared.pipeline import caller_of
from shared.unparsed import parsed_with

_ITEMS: Final = [ingest_pb2.RecordInteractionsRequest.INTERACTIONS_FIELD_NUMBER]


def _unreadable(data: bytes) -> interactions_pb2.Interaction:
    """What stands for an interaction that cannot be parsed: its record id, if there is one. It is refused, for it names nobody."""
    record_id = b""
    with suppress(DecodeError):
        for number, payload, _ in fields(data):
            if number == interactions_pb2.Interaction.RECORD_ID_FIELD_NUMBER and payload is not None:
                record_id = payload
    return interactions_pb2.Interaction(record_id=record_id)


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Where model gateways record."""

    def __init__(self, ingest: Ingest, reports: Reports) -> None:
        self._ingest = ingest
        self._reports = reports

    def RecordInteraction(
        self, request: ingest_pb2.RecordInteractionRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.RecordInteractionResponse:
        """See the contract."""
        [receipt] = self._ingest.record([request.interaction], caller_of(context).name).receipts
        return ingest_pb2.RecordInteractionResponse(receipt=receipt)

    @parsed_with(by_item(ingest_pb2.RecordInteractionsRequest.FromString, _ITEMS, _unreadable))
    def RecordInteractions(
        self, request_iterator: Iterator[ingest_pb2.RecordInteractionsRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.RecordInteractionsResponse]:
        """See the contract. One batch of a stream is in memory at a time."""
        gateway = caller_of(context).name
        for request in request_iterator:
            if len(request.interactions) > MAX_RECORDS:
                raise invalid("interactions", f"must have at most {MAX_RECORDS} items")
            yield self._ingest.record(request.interactions, gateway)

    def ReportUsage(
        self, request: ingest_pb2.ReportUsageRequest, context: grpc.ServicerContext
    ) -> ingest_pb2.ReportUsageResponse:
        """See the contract."""
        return ingest_pb2.ReportUsageResponse(duplicate=self._reports.take(request, caller_of(context).name))

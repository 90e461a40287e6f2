"""ExportService: protobuf in, protobuf out."""

import grpc

from kept.access_control.v1 import exports_pb2, exports_pb2_grpc
from services.access_control.audit.exports import Exports
from shared.pipeline import caller_of


class ExportServicer(exports_pb2_grpc.ExportServiceServicer):
    """What a customer takes along."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports

    def SealExport(
        self, request: exports_pb2.SealExportRequest, context: grpc.ServicerContext
    ) -> exports_pb2.SealExportResponse:
        entry_id = self._exports.seal(caller_of(context), request.organization_id, request.manifest_sha256)
        return exports_pb2.SealExportResponse(audit_entry_id=entry_id)

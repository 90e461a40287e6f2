"""kept.safety_review.v1.LifecycleService."""

import grpc

from kept.safety_review.v1 import lifecycle_pb2, lifecycle_pb2_grpc
from services.safety_review.lifecycle import Lifecycle
from shared.pipeline import caller_of


class LifecycleServicer(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """What retention asks for."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def EraseOrganization(
        self, request: lifecycle_pb2.EraseOrganizationRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseOrganizationResponse:
        """See the contract."""
        erasure = self._lifecycle.erase(caller_of(context), request.organization_id, request.erasure_id)
        answer = lifecycle_pb2.EraseOrganizationResponse(removed=dict(erasure.removed), kept=erasure.kept)
        answer.erased_at.FromDatetime(erasure.erased_at)
        return answer

    def EraseRecords(
        self, request: lifecycle_pb2.EraseRecordsRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseRecordsResponse:
        """See the contract."""
        erasure = self._lifecycle.erase_records(
            caller_of(context), request.organization_id, request.erasure_id, request.record_ids
        )
        answer = lifecycle_pb2.EraseRecordsResponse(removed=erasure.removed)
        answer.erased_at.FromDatetime(erasure.erased_at)
        return answer

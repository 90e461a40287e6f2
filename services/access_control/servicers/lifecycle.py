"""LifecycleService: protobuf in, protobuf out."""

import grpc

from kept.access_control.v1 import lifecycle_pb2, lifecycle_pb2_grpc
from services.access_control.people.directory import Directory


class LifecycleServicer(lifecycle_pb2_grpc.LifecycleServiceServicer):
    """What retention asks for when an organization ends."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def EraseOrganization(
        self, request: lifecycle_pb2.EraseOrganizationRequest, context: grpc.ServicerContext
    ) -> lifecycle_pb2.EraseOrganizationResponse:
        erased = self._directory.erase_organization(request.organization_id, request.erasure_id)
        answer = lifecycle_pb2.EraseOrganizationResponse(removed=erased.removed)
        answer.erased_at.FromDatetime(erased.erased_at)
        return answer

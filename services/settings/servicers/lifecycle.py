"""LifecycleService."""

import grpc

from kept.settings.v1 import lifecycle_pb2 as contract
from kept.settings.v1 import lifecycle_pb2_grpc as contract_grpc
from services.settings.organizations.lifecycle import Lifecycle
from services.settings.servicers.instants import timestamp
from shared.pipeline import caller_of


class LifecycleServicer(contract_grpc.LifecycleServiceServicer):
    """See the contract."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def CloseOrganization(
        self, request: contract.CloseOrganizationRequest, context: grpc.ServicerContext
    ) -> contract.CloseOrganizationResponse:
        effective_at = self._lifecycle.close(caller_of(context), request.organization_id, request.erasure_id)
        return contract.CloseOrganizationResponse(effective_at=timestamp(effective_at))

    def EraseOrganization(
        self, request: contract.EraseOrganizationRequest, context: grpc.ServicerContext
    ) -> contract.EraseOrganizationResponse:
        receipt = self._lifecycle.erase(caller_of(context), request.organization_id, request.erasure_id)
        return contract.EraseOrganizationResponse(
            erased_at=timestamp(receipt.erased_at), removed=receipt.removed
        )

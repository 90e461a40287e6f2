"""GatewayService."""

import grpc

from kept.settings.v1 import gateways_pb2 as contract
from kept.settings.v1 import gateways_pb2_grpc as contract_grpc
from services.settings.organizations.gateways import Gateways
from services.settings.servicers.instants import timestamp
from services.settings.store.gateways import Gateway
from shared.pipeline import caller_of


def _message(gateway: Gateway) -> contract.Gateway:
    return contract.Gateway(
        name=gateway.name,
        all_organizations=gateway.all_organizations,
        organization_ids=gateway.organization_ids,
        effective_at=timestamp(gateway.effective_at),
    )


class GatewayServicer(contract_grpc.GatewayServiceServicer):
    """See the contract."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways

    def RegisterGateway(
        self, request: contract.RegisterGatewayRequest, context: grpc.ServicerContext
    ) -> contract.RegisterGatewayResponse:
        gateway = self._gateways.register(
            caller_of(context), request.name, request.all_organizations, tuple(request.organization_ids)
        )
        return contract.RegisterGatewayResponse(gateway=_message(gateway))

    def RevokeGateway(
        self, request: contract.RevokeGatewayRequest, context: grpc.ServicerContext
    ) -> contract.RevokeGatewayResponse:
        effective_at = self._gateways.revoke(caller_of(context), request.name)
        return contract.RevokeGatewayResponse(effective_at=timestamp(effective_at))

    def ListGateways(
        self, request: contract.ListGatewaysRequest, context: grpc.ServicerContext
    ) -> contract.ListGatewaysResponse:
        return contract.ListGatewaysResponse(
            gateways=[_message(gateway) for gateway in self._gateways.list_all()]
        )

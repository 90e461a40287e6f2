"""PolicyService."""

import grpc

from kept.settings.v1 import policies_pb2 as contract
from kept.settings.v1 import policies_pb2_grpc as contract_grpc
from services.settings.controls.consent import ConsentInterval
from services.settings.controls.data_controls import DataControls
from services.settings.policies import Policies
from services.settings.servicers.instants import timestamp
from shared.pipeline import caller_of


def _message(interval: ConsentInterval) -> contract.ConsentInterval:
    made = contract.ConsentInterval(
        training_allowed=interval.training_allowed, until=timestamp(interval.ends)
    )
    getattr(made, "from").FromDatetime(interval.begins)  # a word of Python's
    return made


class PolicyServicer(contract_grpc.PolicyServiceServicer):
    """See the contract."""

    def __init__(self, policies: Policies, data_controls: DataControls) -> None:
        self._policies = policies
        self._data_controls = data_controls

    def ListPolicyChanges(
        self, request: contract.ListPolicyChangesRequest, context: grpc.ServicerContext
    ) -> contract.ListPolicyChangesResponse:
        changes, lease = self._policies.poll(request.since_version, request.page_size)
        return contract.ListPolicyChangesResponse(changes=changes, lease=lease)

    def GetConsentHistory(
        self, request: contract.GetConsentHistoryRequest, context: grpc.ServicerContext
    ) -> contract.GetConsentHistoryResponse:
        caller_of(context).require_organization(request.organization_id)
        return contract.GetConsentHistoryResponse(
            intervals=[
                _message(interval) for interval in self._data_controls.consent(request.organization_id)
            ]
        )

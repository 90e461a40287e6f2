"""DataControlsService."""

import grpc

from kept.settings.v1 import data_controls_pb2 as contract
from kept.settings.v1 import data_controls_pb2_grpc as contract_grpc
from services.settings.data_controls import DataControls, etag
from services.settings.servicers.instants import timestamp
from services.settings.store.controls import ControlsChange
from shared.pipeline import caller_of


def _controls(change: ControlsChange) -> contract.DataControls:
    return contract.DataControls(
        organization_id=change.organization_id,
        training_allowed=change.training_allowed,
        require_customer_approval=change.require_customer_approval,
        etag=etag(change),
    )


def _change(change: ControlsChange) -> contract.DataControlsChange:
    return contract.DataControlsChange(
        controls=_controls(change),
        accepted_at=timestamp(change.accepted_at),
        effective_at=timestamp(change.effective_at),
        changed_by=change.changed_by,
    )


class DataControlsServicer(contract_grpc.DataControlsServiceServicer):
    """See the contract."""

    def __init__(self, data_controls: DataControls) -> None:
        self._data_controls = data_controls

    def GetDataControls(
        self, request: contract.GetDataControlsRequest, context: grpc.ServicerContext
    ) -> contract.GetDataControlsResponse:
        caller_of(context).require_organization(request.organization_id)
        return contract.GetDataControlsResponse(
            controls=_controls(self._data_controls.get(request.organization_id))
        )

    def UpdateDataControls(
        self, request: contract.UpdateDataControlsRequest, context: grpc.ServicerContext
    ) -> contract.UpdateDataControlsResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        approval = request.require_customer_approval
        change = self._data_controls.update(
            caller,
            request.organization_id,
            request.etag,
            request.training_allowed if request.HasField("training_allowed") else None,
            approval if request.HasField("require_customer_approval") else None,
        )
        return contract.UpdateDataControlsResponse(change=_change(change))

    def ListDataControlsHistory(
        self, request: contract.ListDataControlsHistoryRequest, context: grpc.ServicerContext
    ) -> contract.ListDataControlsHistoryResponse:
        caller_of(context).require_organization(request.organization_id)
        found, next_page = self._data_controls.page(
            request.organization_id, request.page_size, request.page_token
        )
        return contract.ListDataControlsHistoryResponse(
            changes=[_change(change) for change in found], next_page_token=next_page
        )

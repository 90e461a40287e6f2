"""DataControlsService."""

from collections.abc import Iterator, Sequence

import grpc

from kept.settings.v1 import data_controls_pb2 as contract
from kept.settings.v1 import data_controls_pb2_grpc as contract_grpc
from services.settings.controls.assisted_opt_outs import AssistedOptOuts
from services.settings.controls.data_controls import DataControls, etag, number_of
from services.settings.controls.watch import ControlsWatch
from services.settings.organizations.notification_addresses import NotificationAddresses
from services.settings.servicers.instants import timestamp
from services.settings.store.assisted_opt_outs import AssistedOptOut
from services.settings.store.controls import ControlsChange
from services.settings.store.notification_addresses import NotificationAddress
from shared.errors import invalid
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
        assisted_opt_out_id=change.assisted_opt_out_id,
    )


def _opt_out(opt_out: AssistedOptOut) -> contract.AssistedOptOut:
    return contract.AssistedOptOut(
        assisted_opt_out_id=opt_out.assisted_opt_out_id,
        organization_id=opt_out.organization_id,
        state=opt_out.state,
        reason=opt_out.reason,
        requested_by=opt_out.requested_by,
        requested_at=timestamp(opt_out.requested_at),
        decided_by=opt_out.decided_by or "",
        decided_at=timestamp(opt_out.decided_at),
        decision_reason=opt_out.decision_reason,
        admins=opt_out.admins,
    )


def _addresses(addresses: Sequence[NotificationAddress]) -> list[contract.NotificationAddress]:
    return [contract.NotificationAddress(topic=each.topic, email=each.email) for each in addresses]


class DataControlsServicer(contract_grpc.DataControlsServiceServicer):
    """See the contract."""

    def __init__(
        self,
        data_controls: DataControls,
        watch: ControlsWatch,
        opt_outs: AssistedOptOuts,
        addresses: NotificationAddresses,
    ) -> None:
        self._data_controls = data_controls
        self._watch = watch
        self._opt_outs = opt_outs
        self._addresses = addresses

    def GetDataControls(
        self, request: contract.GetDataControlsRequest, context: grpc.ServicerContext
    ) -> contract.GetDataControlsResponse:
        caller_of(context).require_organization(request.organization_id)
        return contract.GetDataControlsResponse(
            controls=_controls(self._data_controls.get(request.organization_id)),
            notes=self._data_controls.notes(request.organization_id),
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

    def WatchDataControls(
        self, request: contract.WatchDataControlsRequest, context: grpc.ServicerContext
    ) -> Iterator[contract.WatchDataControlsResponse]:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        after = number_of(request.after_etag) if request.after_etag else 0
        for change in self._watch.changes(caller, request.organization_id, after, context.is_active):
            yield contract.WatchDataControlsResponse(change=_change(change))

    def RequestAssistedOptOut(
        self, request: contract.RequestAssistedOptOutRequest, context: grpc.ServicerContext
    ) -> contract.RequestAssistedOptOutResponse:
        begun = self._opt_outs.request(caller_of(context), request.organization_id, request.reason)
        return contract.RequestAssistedOptOutResponse(opt_out=_opt_out(begun))

    def DecideAssistedOptOut(
        self, request: contract.DecideAssistedOptOutRequest, context: grpc.ServicerContext
    ) -> contract.DecideAssistedOptOutResponse:
        decided, change = self._opt_outs.decide(
            caller_of(context), request.assisted_opt_out_id, request.approve, request.reason
        )
        return contract.DecideAssistedOptOutResponse(
            opt_out=_opt_out(decided), change=None if change is None else _change(change)
        )

    def ListAssistedOptOuts(
        self, request: contract.ListAssistedOptOutsRequest, context: grpc.ServicerContext
    ) -> contract.ListAssistedOptOutsResponse:
        caller = caller_of(context)
        if caller.is_customer and not request.organization_id:
            raise invalid("organization_id", "name your own organization")
        caller.require_organization(request.organization_id)
        found = self._opt_outs.list_of(request.organization_id)
        return contract.ListAssistedOptOutsResponse(opt_outs=[_opt_out(each) for each in found])

    def GetNotificationAddresses(
        self, request: contract.GetNotificationAddressesRequest, context: grpc.ServicerContext
    ) -> contract.GetNotificationAddressesResponse:
        caller_of(context).require_organization(request.organization_id)
        found = self._addresses.get(request.organization_id)
        return contract.GetNotificationAddressesResponse(
            addresses=_addresses(found.addresses),
            etag=found.etag,
            otherwise=found.otherwise,
            admin_emails=found.admin_emails,
        )

    def UpdateNotificationAddresses(
        self, request: contract.UpdateNotificationAddressesRequest, context: grpc.ServicerContext
    ) -> contract.UpdateNotificationAddressesResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        stored = self._addresses.update(
            caller,
            request.organization_id,
            request.etag,
            [NotificationAddress(each.topic, each.email) for each in request.addresses],
        )
        return contract.UpdateNotificationAddressesResponse(
            addresses=_addresses(stored.addresses), etag=stored.etag
        )

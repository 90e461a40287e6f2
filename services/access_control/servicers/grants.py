"""GrantService: protobuf in, protobuf out."""

from collections.abc import Iterator

import grpc

from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from services.access_control.ended_grants import GrantWatch
from services.access_control.granting import Asked, Granting, View
from services.access_control.grants import DataScope
from services.access_control.servicers.fields import PAGE, instant, page_number, span
from shared.pipeline import caller_of


class GrantServicer(grants_pb2_grpc.GrantServiceServicer):
    """Just-in-time access."""

    def __init__(self, granting: Granting, watch: GrantWatch) -> None:
        self._granting = granting
        self._watch = watch

    def RequestGrant(
        self, request: grants_pb2.RequestGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.RequestGrantResponse:
        view = self._granting.request(caller_of(context).person_id, _asked(request))
        return grants_pb2.RequestGrantResponse(grant=_grant(view))

    def ApproveGrant(
        self, request: grants_pb2.ApproveGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ApproveGrantResponse:
        view = self._granting.approve(caller_of(context), request.grant_id)
        return grants_pb2.ApproveGrantResponse(grant=_grant(view))

    def DenyGrant(
        self, request: grants_pb2.DenyGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.DenyGrantResponse:
        view = self._granting.deny(caller_of(context), request.grant_id, request.reason)
        return grants_pb2.DenyGrantResponse(grant=_grant(view))

    def CancelGrant(
        self, request: grants_pb2.CancelGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.CancelGrantResponse:
        view = self._granting.cancel(caller_of(context), request.grant_id)
        return grants_pb2.CancelGrantResponse(grant=_grant(view))

    def RevokeGrant(
        self, request: grants_pb2.RevokeGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.RevokeGrantResponse:
        view = self._granting.revoke(caller_of(context), request.grant_id, request.reason)
        return grants_pb2.RevokeGrantResponse(grant=_grant(view))

    def GetGrant(
        self, request: grants_pb2.GetGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.GetGrantResponse:
        return grants_pb2.GetGrantResponse(
            grant=_grant(self._granting.get(caller_of(context), request.grant_id))
        )

    def ListGrants(
        self, request: grants_pb2.ListGrantsRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ListGrantsResponse:
        caller = caller_of(context)
        if request.organization_id:
            caller.require_organization(request.organization_id)
        size = request.page_size or PAGE
        found = self._granting.list(
            caller,
            state=request.state,
            organization_id=request.organization_id,
            before=page_number(request.page_token),
            limit=size + 1,
        )
        answer = grants_pb2.ListGrantsResponse(grants=[_grant(view) for _, view in found[:size]])
        if len(found) > size:
            answer.next_page_token = str(found[size - 1][0])
        return answer

    def WatchGrant(
        self, request: grants_pb2.WatchGrantRequest, context: grpc.ServicerContext
    ) -> Iterator[grants_pb2.WatchGrantResponse]:
        for view in self._watch.views(caller_of(context), request.grant_id, context.is_active):
            yield grants_pb2.WatchGrantResponse(grant=_grant(view))


def _asked(request: grants_pb2.RequestGrantRequest) -> Asked:
    data = None
    if request.HasField("data"):
        scope = request.data
        data = DataScope(
            scope.organization_id,
            scope.detail,
            scope.budget,
            instant("data.from", getattr(scope, "from")) if scope.HasField("from") else None,
            instant("data.until", scope.until) if scope.HasField("until") else None,
            frozenset(scope.record_ids),
            scope.case_id,
        )
    return Asked(
        request.request_id,
        data,
        request.power,
        request.purpose,
        request.reason,
        request.ticket,
        span("duration", request.duration),
        instant("start_at", request.start_at) if request.HasField("start_at") else None,
        # What this version of the contract knows, in order of its fields: a newer client's unknown fields tell nothing apart.
        _known(request).SerializeToString(deterministic=True),
    )


def _known(request: grants_pb2.RequestGrantRequest) -> grants_pb2.RequestGrantRequest:
    copy = grants_pb2.RequestGrantRequest()
    copy.CopyFrom(request)
    copy.DiscardUnknownFields()
    return copy


def data_scope(data: DataScope) -> grants_pb2.DataScope:
    """As the contract says it."""
    scope = grants_pb2.DataScope(
        organization_id=data.organization_id,
        record_ids=sorted(data.record_ids),
        detail=data.detail,
        budget=data.budget,
        case_id=data.case_id,
    )
    if data.start is not None:
        getattr(scope, "from").FromDatetime(data.start)
    if data.until is not None:
        scope.until.FromDatetime(data.until)
    return scope


def _grant(view: View) -> grants_pb2.Grant:
    grant = view.grant
    made = grants_pb2.Grant(
        grant_id=grant.grant_id,
        requested_by=grant.requested_by,
        purpose=grant.purpose,
        reason=grant.reason,
        ticket=grant.ticket,
        state=view.state,
        used=grant.used,
        missing_staff_approvals=view.missing_staff,
        missing_customer_approval=view.missing_customer,
    )
    if grant.data is not None:
        made.data.CopyFrom(data_scope(grant.data))
    else:
        made.power = grant.power
    made.requested_at.FromDatetime(grant.requested_at)
    made.request_expires_at.FromDatetime(grant.request_expires_at)
    made.duration.FromTimedelta(grant.duration)
    for vote in grant.votes:
        made.approvals.add(approved_by=vote.approved_by).approved_at.FromDatetime(vote.approved_at)
    if grant.valid_from is not None and grant.expires_at is not None:
        made.valid_from.FromDatetime(grant.valid_from)
        made.expires_at.FromDatetime(grant.expires_at)
    return made

"""GrantService: protobuf in, protobuf out."""

from collections.abc import Iterator
from operator import itemgetter

import grpc

from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
from kept.options.v1 import roles_pb2
from services.access_control.grants.acts import View
from services.access_control.grants.asking import Asked, Asking
from services.access_control.grants.break_glass import BreakGlassReviews
from services.access_control.grants.ended import GrantWatch
from services.access_control.grants.grant import BrokenGlass, Grant
from services.access_control.grants.granting import Granting
from services.access_control.grants.messages import asked_message, etag, scope_message, scope_of
from services.access_control.grants.narrowing import Narrowing
from services.access_control.grants.scope import DataScope
from shared.fields import instant, span
from shared.identity import Caller
from shared.pages import page
from shared.pipeline import caller_of


class GrantServicer(grants_pb2_grpc.GrantServiceServicer):
    """Just-in-time access."""

    def __init__(
        self, asking: Asking, granting: Granting, reviews: BreakGlassReviews, watch: GrantWatch
    ) -> None:
        self._asking = asking
        self._granting = granting
        self._reviews = reviews
        self._watch = watch

    def RequestGrant(
        self, request: grants_pb2.RequestGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.RequestGrantResponse:
        view = self._asking.ask(caller_of(context), _asked(request))
        return grants_pb2.RequestGrantResponse(grant=_grant(view, caller_of(context)))

    def ApproveGrant(
        self, request: grants_pb2.ApproveGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ApproveGrantResponse:
        narrowing = _narrowing(request.narrowing) if request.HasField("narrowing") else None
        view = self._granting.approve(caller_of(context), request.grant_id, narrowing, request.etag)
        return grants_pb2.ApproveGrantResponse(grant=_grant(view, caller_of(context)))

    def DenyGrant(
        self, request: grants_pb2.DenyGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.DenyGrantResponse:
        view = self._granting.deny(caller_of(context), request.grant_id, request.reason)
        return grants_pb2.DenyGrantResponse(grant=_grant(view, caller_of(context)))

    def CancelGrant(
        self, request: grants_pb2.CancelGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.CancelGrantResponse:
        view = self._granting.cancel(caller_of(context), request.grant_id)
        return grants_pb2.CancelGrantResponse(grant=_grant(view, caller_of(context)))

    def RevokeGrant(
        self, request: grants_pb2.RevokeGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.RevokeGrantResponse:
        view = self._granting.revoke(caller_of(context), request.grant_id, request.reason)
        return grants_pb2.RevokeGrantResponse(grant=_grant(view, caller_of(context)))

    def ExtendGrant(
        self, request: grants_pb2.ExtendGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ExtendGrantResponse:
        duration = span("duration", request.duration)
        view = self._granting.extend(caller_of(context), request.grant_id, duration, request.reason)
        return grants_pb2.ExtendGrantResponse(grant=_grant(view, caller_of(context)))

    def BreakGlass(
        self, request: grants_pb2.BreakGlassRequest, context: grpc.ServicerContext
    ) -> grants_pb2.BreakGlassResponse:
        view = self._asking.ask(caller_of(context), _taken(request))
        return grants_pb2.BreakGlassResponse(grant=_grant(view, caller_of(context)))

    def ReviewBreakGlass(
        self, request: grants_pb2.ReviewBreakGlassRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ReviewBreakGlassResponse:
        view = self._reviews.review(caller_of(context), request.grant_id, request.verdict, request.reason)
        return grants_pb2.ReviewBreakGlassResponse(grant=_grant(view, caller_of(context)))

    def GetGrant(
        self, request: grants_pb2.GetGrantRequest, context: grpc.ServicerContext
    ) -> grants_pb2.GetGrantResponse:
        view = self._granting.get(caller_of(context), request.grant_id)
        return grants_pb2.GetGrantResponse(grant=_grant(view, caller_of(context)))

    def ListGrants(
        self, request: grants_pb2.ListGrantsRequest, context: grpc.ServicerContext
    ) -> grants_pb2.ListGrantsResponse:
        caller = caller_of(context)
        if request.organization_id:
            caller.require_organization(request.organization_id)
        found, token = page(
            "grants",
            request.page_size,
            request.page_token,
            lambda before, limit: self._granting.list(
                caller,
                state=request.state,
                organization_id=request.organization_id,
                before=before or None,
                limit=limit,
            ),
            itemgetter(0),
        )
        return grants_pb2.ListGrantsResponse(
            grants=[_grant(view, caller) for _, view in found], next_page_token=token
        )

    def WatchGrant(
        self, request: grants_pb2.WatchGrantRequest, context: grpc.ServicerContext
    ) -> Iterator[grants_pb2.WatchGrantResponse]:
        for view in self._watch.views(caller_of(context), request.grant_id, context.is_active):
            yield grants_pb2.WatchGrantResponse(grant=_grant(view, caller_of(context)))


def _asked(request: grants_pb2.RequestGrantRequest) -> Asked:
    return Asked(
        request.request_id,
        _scope(request.data) if request.HasField("data") else None,
        request.power,
        request.purpose,
        request.reason,
        request.ticket,
        span("duration", request.duration),
        instant("start_at", request.start_at) if request.HasField("start_at") else None,
        _known(request),
    )


def _taken(request: grants_pb2.BreakGlassRequest) -> Asked:
    return Asked(
        request.request_id,
        _scope(request.data),
        roles_pb2.POWER_UNSPECIFIED,
        request.purpose,
        request.reason,
        request.ticket,
        span("duration", request.duration),
        None,
        b"break_glass" + _known(request),
        breaks_glass=True,
    )


def _scope(scope: grants_pb2.DataScope) -> DataScope:
    for name in ("from", "until"):
        if scope.HasField(name):
            instant(f"data.{name}", getattr(scope, name))
    return scope_of(scope)


def _narrowing(message: grants_pb2.Narrowing) -> Narrowing:
    return Narrowing(
        message.detail or None,
        message.budget or None,
        span("narrowing.duration", message.duration) if message.HasField("duration") else None,
        instant("narrowing.from", getattr(message, "from")) if message.HasField("from") else None,
        instant("narrowing.until", message.until) if message.HasField("until") else None,
        frozenset(message.record_ids),
    )


def _known(request: grants_pb2.RequestGrantRequest | grants_pb2.BreakGlassRequest) -> bytes:
    """What this version of the contract knows, in order of its fields: a newer client's unknown fields tell nothing apart."""
    copy = type(request)()
    copy.CopyFrom(request)  # type: ignore[arg-type] # of its own type
    copy.DiscardUnknownFields()
    return copy.SerializeToString(deterministic=True)


def _grant(view: View, caller: Caller) -> grants_pb2.Grant:
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
        approved_by_rule=grant.rules,
        etag=etag(grant),
    )
    if grant.data is not None:
        made.data.CopyFrom(scope_message(grant.data))
    else:
        made.power = grant.power
    made.requested_at.FromDatetime(grant.requested_at)
    made.request_expires_at.FromDatetime(grant.request_expires_at)
    made.duration.FromTimedelta(grant.duration)
    made.approvals.extend(_approvals(grant))
    if grant.asked is not None:
        made.asked.CopyFrom(asked_message(*grant.asked))
    if grant.extension is not None:
        made.extension.reason = grant.extension.reason
        made.extension.duration.FromTimedelta(grant.extension.duration)
        made.extension.requested_at.FromDatetime(grant.extension.requested_at)
        made.extension.approvals.extend(_approvals(grant.next_round))
    if grant.broken_glass is not None:
        _fill(made.broken_glass, grant.broken_glass)
    if grant.valid_from is not None and grant.expires_at is not None:
        made.valid_from.FromDatetime(grant.valid_from)
        made.expires_at.FromDatetime(grant.expires_at)
    if caller.is_customer:
        # That there is a case is the vendor's own matter (docs/safety-review.md).
        if made.HasField("data"):
            made.data.ClearField("case_id")
        if made.HasField("asked"):
            made.asked.data.ClearField("case_id")
    return made


def _approvals(grant: Grant) -> Iterator[grants_pb2.Approval]:
    for vote in grant.votes_in_force:
        made = grants_pb2.Approval(approved_by=vote.approved_by)
        made.approved_at.FromDatetime(vote.approved_at)
        yield made


def _fill(made: grants_pb2.BrokenGlass, glass: BrokenGlass) -> None:
    made.verdict, made.reviewed_by, made.note = glass.verdict, glass.reviewed_by, glass.note
    made.review_due_at.FromDatetime(glass.review_due_at)
    if glass.reviewed_at is not None:
        made.reviewed_at.FromDatetime(glass.reviewed_at)

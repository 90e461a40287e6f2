"""kept.retention.v1.HoldService."""

from typing import Final

import grpc

from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from services.retention.holds.hold import Hold, HoldKind, HoldOrder
from services.retention.holds.keeping import HoldKeeper, of_person, of_service
from services.retention.holds.secrecy import Secrecy
from services.retention.servicers import messages
from services.retention.store import Tx
from services.retention.store import holds as rows
from shared import fields
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind
from shared.pages import page
from shared.pipeline import caller_of

# A hold on all that matches names so many that it came too late for.
_MOST_LOST: Final = 1000
# Who may know of holds of which the customer must not.
_MAY_KNOW: Final = frozenset({roles_pb2.STAFF_ROLE_LEGAL, roles_pb2.STAFF_ROLE_AUDITOR})


class HoldServicer(holds_pb2_grpc.HoldServiceServicer):
    """Holds, for legal staff and safety review."""

    def __init__(self, keeper: HoldKeeper, database: Database) -> None:
        self._keeper = keeper
        self._database = database

    def PlaceHold(
        self, request: holds_pb2.PlaceHoldRequest, context: grpc.ServicerContext
    ) -> holds_pb2.PlaceHoldResponse:
        caller = caller_of(context)
        order = HoldOrder(
            request_id=request.request_id,
            kind=messages.HOLD_KINDS[request.kind],
            organization_id=request.organization_id,
            record_ids=tuple(request.record_ids),
            reference=request.reference,
            review_at=fields.instant("review_at", request.review_at),
            scope=messages.to_scope(request.scope) if request.HasField("scope") else None,
            secrecy=Secrecy(
                request.secrecy.legal_basis,
                fields.instant("secrecy.review_at", request.secrecy.review_at),
            )
            if request.HasField("secrecy")
            else None,
        )
        _require_kind(caller, order.kind)
        return holds_pb2.PlaceHoldResponse(hold=self._message(self._keeper.place(order, caller.actor)))

    def ConfirmHold(
        self, request: holds_pb2.ConfirmHoldRequest, context: grpc.ServicerContext
    ) -> holds_pb2.ConfirmHoldResponse:
        confirmed = self._keeper.confirm(request.hold_id, caller_of(context).person_id)
        return holds_pb2.ConfirmHoldResponse(hold=self._message(confirmed))

    def ReleaseHold(
        self, request: holds_pb2.ReleaseHoldRequest, context: grpc.ServicerContext
    ) -> holds_pb2.ReleaseHoldResponse:
        caller = caller_of(context)
        if caller.kind is CallerKind.SERVICE or not request.hold_id:
            find = of_service(caller.actor, request.hold_id, request.request_id)
        else:
            find = of_person(request.hold_id, "ReleaseHold")
        released = self._keeper.release(find, caller.actor, request.reason)
        return holds_pb2.ReleaseHoldResponse(hold=self._message(released))

    def ExtendHold(
        self, request: holds_pb2.ExtendHoldRequest, context: grpc.ServicerContext
    ) -> holds_pb2.ExtendHoldResponse:
        caller = caller_of(context)
        if caller.kind is CallerKind.SERVICE or not request.hold_id:
            find = of_service(caller.actor, request.hold_id, request.request_id)
        else:
            find = of_person(request.hold_id, "ExtendHold")
        review_at = fields.instant("review_at", request.review_at)
        extended = self._keeper.extend(find, review_at, caller.actor, request.reason)
        return holds_pb2.ExtendHoldResponse(hold=self._message(extended))

    def ReviewHoldSecrecy(
        self, request: holds_pb2.ReviewHoldSecrecyRequest, context: grpc.ServicerContext
    ) -> holds_pb2.ReviewHoldSecrecyResponse:
        review_at = None if request.ends else fields.instant("review_at", request.review_at)
        reviewed = self._keeper.discloser.review(
            request.hold_id, review_at, caller_of(context).person_id, request.reason
        )
        return holds_pb2.ReviewHoldSecrecyResponse(hold=self._message(reviewed))

    def _message(self, hold: Hold) -> holds_pb2.Hold:
        """A hold, with what a scope's came too late for."""
        with self._database.transaction() as tx:
            return self._message_in(tx, hold)

    @staticmethod
    def _message_in(tx: Tx, hold: Hold) -> holds_pb2.Hold:
        lost = rows.lost_of(tx, hold.hold_id, _MOST_LOST) if hold.records_lost else ()
        return messages.hold(hold, lost)

    def ListHolds(
        self, request: holds_pb2.ListHoldsRequest, context: grpc.ServicerContext
    ) -> holds_pb2.ListHoldsResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        secret_too = caller.kind is CallerKind.STAFF and not _MAY_KNOW.isdisjoint(caller.roles)
        with self._database.transaction() as tx:
            found, token = page(
                "holds",
                request.page_size,
                request.page_token,
                lambda before, limit: rows.page(
                    tx, request.organization_id, before or None, limit, secret_too=secret_too
                ),
                lambda one: one.number,
            )
            listed = [self._message_in(tx, one) for one in found]
        return holds_pb2.ListHoldsResponse(holds=listed, next_page_token=token)


def _require_kind(caller: Caller, kind: HoldKind) -> None:
    """Raises CALLER_NOT_ALLOWED unless this caller places holds of this kind: LEGAL for people, FLAGGED for safety review."""
    if (kind is HoldKind.FLAGGED) is not (caller.kind is CallerKind.SERVICE):
        raise KeptError(
            Reason.REASON_CALLER_NOT_ALLOWED,
            "People place legal holds, and safety review holds on flagged use; not the other way round.",
            metadata={"method": "/kept.retention.v1.HoldService/PlaceHold"},
        )

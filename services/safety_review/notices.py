"""What safety review tells other services, through the outbox: holds to retention, cases to access control, entries to the audit log.

Messages of one kind arrive in the order in which they were written, so a hold is placed before it is released and a case opened before it
is closed. Each is an `Any` around the request itself. A request that the receiver refuses for good is not sent again: it would hold up
all that come after it. What was refused that way is logged, and a hold that could not be placed is in the audit log too.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, authz_pb2, authz_pb2_grpc
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from services.safety_review import store
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import derived_id
from shared.outbox import AUDIT, Outbox

HOLD: Final = "hold"
CASE: Final = "case"
SERVICE: Final = "service:safety_review"

# Refusals that no repetition changes. Everything else is a peer that is down, or a fault that somebody has to mend first.
_FINAL: Final = frozenset(
    {
        Reason.REASON_INVALID_ARGUMENT,
        Reason.REASON_NOT_FOUND,
        Reason.REASON_WRONG_STATE,
        Reason.REASON_REQUEST_ID_REUSED,
        Reason.REASON_HOLD_TOO_LATE,
        Reason.REASON_UNKNOWN_ORGANIZATION,
        Reason.REASON_CLOSED,
    }
)
_Request = TypeVar("_Request", bound=Message)
_log = structlog.get_logger(__name__)


def place_hold(
    request_id: str, organization_id: str, record_id: bytes, case_id: str, ends_at: datetime
) -> any_pb2.Any:
    """The message (kind HOLD) that holds one flagged record for its case."""
    request = holds_pb2.PlaceHoldRequest(
        request_id=request_id,
        kind=holds_pb2.HOLD_KIND_FLAGGED,
        organization_id=organization_id,
        record_ids=[record_id],
        reference=case_id,
    )
    request.review_at.FromDatetime(ends_at)
    return _packed(request)


def release_hold(request_id: str, case_id: str) -> any_pb2.Any:
    """The message (kind HOLD) that lets a flagged record go. The reviewer's own words stay here."""
    return _packed(
        holds_pb2.ReleaseHoldRequest(request_id=request_id, reason=f"No violation was found in {case_id}.")
    )


def open_case(case_id: str, organization_id: str, record_ids: Sequence[bytes]) -> any_pb2.Any:
    """The message (kind CASE) that makes a case known with all of its records."""
    return _packed(
        authz_pb2.OpenCaseRequest(case_id=case_id, organization_id=organization_id, record_ids=record_ids)
    )


def close_case(case_id: str, *, upheld: bool) -> any_pb2.Any:
    """The message (kind CASE) that closes a case."""
    return _packed(authz_pb2.CloseCaseRequest(case_id=case_id, upheld=upheld))


def _packed(request: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(request)
    return packed


class Notices:
    """The outbox and what delivers it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        holds: holds_pb2_grpc.HoldServiceStub,
        authz: authz_pb2_grpc.AuthzServiceStub,
        audits: audit_pb2_grpc.AuditServiceStub,
    ) -> None:
        self._database = database
        self._clock = clock
        self._holds = holds
        self._authz = authz
        self._audits = audits
        self.outbox = Outbox(
            store.outbox,
            database,
            clock,
            {AUDIT: self._deliver_audit, HOLD: self._deliver_holds, CASE: self._deliver_cases},
        )

    def _deliver_audit(self, payloads: list[bytes]) -> None:
        entries = [audit_pb2.AuditEntry.FromString(payload) for payload in payloads]
        self._audits.AppendEntries(audit_pb2.AppendEntriesRequest(entries=entries))

    def _deliver_holds(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            packed = any_pb2.Any.FromString(payload)
            if packed.Is(holds_pb2.PlaceHoldRequest.DESCRIPTOR):
                place = holds_pb2.PlaceHoldRequest()
                packed.Unpack(place)
                refusal = _final_refusal(self._holds.PlaceHold, place)
                if refusal is not None:
                    self._report_refused_hold(place, refusal)
            else:
                release = holds_pb2.ReleaseHoldRequest()
                packed.Unpack(release)
                # Refused when it was never placed or has ended: nothing is held then.
                refusal = _final_refusal(self._holds.ReleaseHold, release)
                if refusal is not None:
                    _log.info("hold.not_released", request_id=release.request_id, reason=refusal.name)

    def _deliver_cases(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            packed = any_pb2.Any.FromString(payload)
            if packed.Is(authz_pb2.OpenCaseRequest.DESCRIPTOR):
                opened = authz_pb2.OpenCaseRequest()
                packed.Unpack(opened)
                case_id = opened.case_id
                refusal = _final_refusal(self._authz.OpenCase, opened)
            else:
                closed = authz_pb2.CloseCaseRequest()
                packed.Unpack(closed)
                case_id = closed.case_id
                refusal = _final_refusal(self._authz.CloseCase, closed)
            if refusal is not None:
                _log.error("case.not_delivered", case_id=case_id, reason=refusal.name)

    def _report_refused_hold(self, place: holds_pb2.PlaceHoldRequest, refusal: KeptError) -> None:
        _log.error("hold.refused", request_id=place.request_id, case_id=place.reference, reason=refusal.name)
        with self._database.transaction() as tx:
            self.outbox.audit(
                tx,
                audit.entry(
                    "hold.refused",
                    actor=SERVICE,
                    at=self._clock.now(),
                    organization_id=place.organization_id,
                    subjects=[place.reference, *place.record_ids],
                    facts={"reason": refusal.name, "request_id": place.request_id},
                    # The batch may be delivered again: one refusal, one entry.
                    entry_id=derived_id(
                        "entry", hashlib.sha256(f"refused {place.request_id}".encode()).digest()
                    ),
                ),
            )


def _final_refusal(call: Callable[[_Request], object], request: _Request) -> KeptError | None:
    """Makes a call; returns its refusal if that is for good. Raises every other failure."""
    try:
        call(request)
    except KeptError as error:
        if error.reason in _FINAL:
            return error
        raise
    return None

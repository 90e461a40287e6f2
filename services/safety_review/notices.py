"""What safety review tells other services, through the outbox: holds to retention, cases to access control, entries to the audit log.

Messages of one kind arrive in the order in which they were written, so a hold is placed before it is released and a case opened before it
is closed; what was put aside and comes later than that changes nothing. Each is an `Any` around the request itself. Some refusals are
answers: a hold that came too late for its records, which goes to the audit log, the release of a hold that was never placed, and the
extension of one that was not, is over, or ends later already. All others are put aside by the outbox.
"""

import hashlib
from datetime import datetime
from typing import Final

import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, authz_pb2, authz_pb2_grpc
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from services.safety_review import store
from services.safety_review.store import cases
from services.safety_review.store.verdicts import RecordKey
from shared import audit
from shared.clock import Clock
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import derived_id
from shared.outbox import Outbox

HOLD: Final = "hold"
CASE: Final = "case"
# A kind of its own: the version before puts messages of HOLD aside that it does not know.
EXTENSION: Final = "hold_extension"
SERVICE: Final = "service:safety_review"

# Of an extension: there is no such hold, it is over, or ends later already, as after this database was restored.
_NOT_EXTENDED: Final = (Reason.REASON_NOT_FOUND, Reason.REASON_WRONG_STATE, Reason.REASON_INVALID_ARGUMENT)

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


def extend_hold(request_id: str, case_id: str, ends_at: datetime) -> any_pb2.Any:
    """The message (kind EXTENSION) that puts the end of a flagged record's hold off."""
    request = holds_pb2.ExtendHoldRequest(
        request_id=request_id, reason=f"{case_id} is not decided yet, or may be appealed."
    )
    request.review_at.FromDatetime(ends_at)
    return _packed(request)


def open_case(case_id: str, organization_id: str, turn: int = 1) -> any_pb2.Any:
    """The message (kind CASE) that makes a case known with the records that it has when this is delivered: a message that was put aside
    and comes later takes no record away. Of a case that is gone by then it has none. turn: how often it was opened; one that comes late
    opens no case that was closed since."""
    return _packed(
        authz_pb2.OpenCaseRequest(
            case_id=case_id, organization_id=organization_id, round=turn if turn > 1 else 0
        )
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
        self.outbox = Outbox(
            store.outbox,
            database,
            clock,
            audits.AppendEntries,
            # In this order: a case is known at once, and its reviewer waits for that; a hold takes longer, and nobody waits.
            {CASE: self._deliver_case, HOLD: self._deliver_hold, EXTENSION: self._deliver_extension},
            positions=store.audit_position,
        )

    def _deliver_hold(self, payload: bytes) -> None:
        packed = any_pb2.Any.FromString(payload)
        if packed.Is(holds_pb2.PlaceHoldRequest.DESCRIPTOR):
            place = holds_pb2.PlaceHoldRequest()
            packed.Unpack(place)
            self._place(place)
        else:
            release = holds_pb2.ReleaseHoldRequest()
            packed.Unpack(release)
            self._release(release)

    def _place(self, place: holds_pb2.PlaceHoldRequest) -> None:
        key = RecordKey(place.organization_id, place.record_ids[0])
        with self._database.transaction() as tx:
            # One that was put aside comes after its release, which found nothing: nobody would release it any more.
            if not cases.is_to_hold(tx, key, place.request_id):
                _log.info("hold.not_placed", request_id=place.request_id, case_id=place.reference)
                return
        try:
            self._holds.PlaceHold(place)
        except KeptError as error:
            if error.reason != Reason.REASON_HOLD_TOO_LATE:
                raise
            _log.error("hold.too_late", request_id=place.request_id, case_id=place.reference)
            with self._database.transaction() as tx:
                self.outbox.audit(tx, _refused(place, error, self._clock.now()))

    def _release(self, release: holds_pb2.ReleaseHoldRequest) -> None:
        try:
            self._holds.ReleaseHold(release)
        except KeptError as error:
            if error.reason != Reason.REASON_NOT_FOUND:
                raise
            _log.info(
                "hold.not_released", request_id=release.request_id
            )  # it was never placed: nothing is held

    def _deliver_extension(self, payload: bytes) -> None:
        extend = holds_pb2.ExtendHoldRequest()
        any_pb2.Any.FromString(payload).Unpack(extend)
        try:
            self._holds.ExtendHold(extend)
        except KeptError as error:
            if error.reason not in _NOT_EXTENDED:
                raise
            _log.warning("hold.not_extended", request_id=extend.request_id, reason=error.name)

    def _deliver_case(self, payload: bytes) -> None:
        packed = any_pb2.Any.FromString(payload)
        if packed.Is(authz_pb2.OpenCaseRequest.DESCRIPTOR):
            opened = authz_pb2.OpenCaseRequest()
            packed.Unpack(opened)
            with self._database.transaction() as tx:
                opened.record_ids.extend(cases.record_ids(tx, opened.case_id))
            self._authz.OpenCase(opened)
        else:
            closed = authz_pb2.CloseCaseRequest()
            packed.Unpack(closed)
            self._authz.CloseCase(closed)


def _refused(place: holds_pb2.PlaceHoldRequest, error: KeptError, now: datetime) -> audit_pb2.AuditEntry:
    return audit.entry(
        "hold.refused",
        actor=SERVICE,
        at=now,
        organization_id=place.organization_id,
        subjects=[place.reference, *place.record_ids],
        facts={"reason": error.name, "request_id": place.request_id},
        # The message may be delivered again: one refusal, one entry.
        entry_id=derived_id("entry", hashlib.sha256(f"refused {place.request_id}".encode()).digest()),
    )

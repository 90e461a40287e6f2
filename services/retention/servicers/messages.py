"""Domain objects as the contract's messages, and page tokens."""

from collections.abc import Sequence
from typing import Final

from kept.retention.v1 import certificates_pb2, erasures_pb2, holds_pb2, runs_pb2
from services.retention.certificates.certificate import Certificate, Receipt
from services.retention.erasures.content_states import ContentState
from services.retention.erasures.contents import ContentView
from services.retention.erasures.organization_states import ErasureState
from services.retention.erasures.organizations import ErasureView
from services.retention.erasures.subject_states import SubjectState
from services.retention.erasures.subjects import SubjectView
from services.retention.holds.hold import Hold, HoldKind, HoldScope, HoldState
from services.retention.holds.sweeping import scope_message
from services.retention.runs.plans import PlannedDay
from services.retention.runs.states import Progress, Run, RunState
from shared import fields
from shared.terms import NEVER

_LARGEST: Final = 2**63 - 1

HOLD_KINDS: Final = {
    holds_pb2.HOLD_KIND_LEGAL: HoldKind.LEGAL,
    holds_pb2.HOLD_KIND_FLAGGED: HoldKind.FLAGGED,
}
_HOLD_KINDS: Final = {kind: number for number, kind in HOLD_KINDS.items()}
_HOLD_STATES: Final = {
    HoldState.PENDING: holds_pb2.HOLD_STATE_PENDING,
    HoldState.ACTIVE: holds_pb2.HOLD_STATE_ACTIVE,
    HoldState.RELEASING: holds_pb2.HOLD_STATE_RELEASING,
    HoldState.RELEASED: holds_pb2.HOLD_STATE_RELEASED,
    HoldState.FAILED: holds_pb2.HOLD_STATE_FAILED,
}
_RUN_STATES: Final = {
    RunState.DESTROYING_KEYS: runs_pb2.RUN_STATE_DESTROYING_KEYS,
    RunState.DROPPING_ROWS: runs_pb2.RUN_STATE_DROPPING_ROWS,
    RunState.CERTIFYING: runs_pb2.RUN_STATE_CERTIFYING,
    RunState.DONE: runs_pb2.RUN_STATE_DONE,
    RunState.NOT_CERTIFIED: runs_pb2.RUN_STATE_NOT_CERTIFIED,
}
_ERASURE_STATES: Final = {
    ErasureState.CLOSING: erasures_pb2.ERASURE_STATE_CLOSING,
    ErasureState.DESTROYING_KEYS: erasures_pb2.ERASURE_STATE_DESTROYING_KEYS,
    ErasureState.ERASING: erasures_pb2.ERASURE_STATE_ERASING,
    ErasureState.CERTIFYING: erasures_pb2.ERASURE_STATE_CERTIFYING,
    ErasureState.DONE: erasures_pb2.ERASURE_STATE_DONE,
}
_SUBJECT_STATES: Final = {
    SubjectState.ERASING: erasures_pb2.ERASURE_STATE_ERASING,
    SubjectState.FORGETTING: erasures_pb2.ERASURE_STATE_FORGETTING,
    SubjectState.CERTIFYING: erasures_pb2.ERASURE_STATE_CERTIFYING,
    SubjectState.DONE: erasures_pb2.ERASURE_STATE_DONE,
    SubjectState.COMPLETING: erasures_pb2.ERASURE_STATE_DONE,
    SubjectState.CERTIFYING_REST: erasures_pb2.ERASURE_STATE_DONE,
    SubjectState.FAILED: erasures_pb2.ERASURE_STATE_FAILED,
}

_CONTENT_STATES: Final = {
    ContentState.DESTROYING_KEYS: erasures_pb2.ERASURE_STATE_DESTROYING_KEYS,
    ContentState.ERASING: erasures_pb2.ERASURE_STATE_ERASING,
    ContentState.CERTIFYING: erasures_pb2.ERASURE_STATE_CERTIFYING,
    ContentState.DONE: erasures_pb2.ERASURE_STATE_DONE,
    ContentState.CERTIFYING_REST: erasures_pb2.ERASURE_STATE_DONE,
}


def to_scope(message: holds_pb2.HoldScope) -> HoldScope:
    """A scope of a request. Raises INVALID_ARGUMENT for what is no day."""
    return HoldScope(
        fields.day("scope.first_day", message.first_day) if message.first_day else None,
        fields.day("scope.last_day", message.last_day) if message.last_day else None,
        message.end_user,
    )


def hold(held: Hold, lost: Sequence[bytes] = ()) -> holds_pb2.Hold:
    """A hold. lost: of one on all that matches, what it came too late for."""
    message = holds_pb2.Hold(
        hold_id=held.hold_id,
        kind=_HOLD_KINDS[held.kind],
        organization_id=held.organization_id,
        record_ids=held.record_ids,
        reference=held.reference,
        state=_HOLD_STATES[held.state],
        placed_by=held.placed_by,
        confirmed_by=held.confirmed_by,
        lost=sorted(held.lost) or lost,
        records_kept=held.kept_count,
        records_lost=held.records_lost or len(held.lost),
        gone_through_day="" if held.sweep.gone_through is None else held.sweep.gone_through.isoformat(),
    )
    if held.scope is not None:
        message.scope.CopyFrom(scope_message(held.scope))
    if held.secrecy is not None and held.is_secret:
        message.secrecy.legal_basis = held.secrecy.legal_basis
        message.secrecy.review_at.FromDatetime(held.secrecy.review_at)
    message.placed_at.FromDatetime(held.placed_at)
    message.review_at.FromDatetime(held.review_at)
    if held.lapses_at is not None:
        message.lapses_at.FromDatetime(held.lapses_at)
    return message


def run(one: Run, so_far: Progress) -> runs_pb2.Run:
    """A run. so_far: what was done of it, where it goes on."""
    is_dropping = one.state is RunState.DROPPING_ROWS
    message = runs_pb2.Run(
        run_id=one.run_id,
        state=_RUN_STATES[one.state],
        through_day=one.through_day.isoformat(),
        epochs_destroyed=one.epochs_destroyed,
        records_removed=so_far.removed if is_dropping else one.records_removed,
        records_held=so_far.held if is_dropping else one.records_held,
        certificates=one.certificates if one.is_over else so_far.certificates,
        late_seconds=one.late_seconds,
        days=so_far.days,
        days_dropped=so_far.days_dropped,
    )
    message.started_at.FromDatetime(one.started_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    return message


def planned_day(one: PlannedDay) -> runs_pb2.PlannedDay:
    """A line of a plan."""
    message = runs_pb2.PlannedDay(
        organization_id=one.organization_id,
        day=one.day.isoformat(),
        records=one.goes,
        held=one.held,
        term=one.rule.term.to_message(),
        application=one.application,
    )
    if one.due_at < NEVER:
        message.due_at.FromDatetime(one.due_at)
    for keeping in one.holds:
        added = message.holds.add(
            hold_id=keeping.hold_id,
            kind=_HOLD_KINDS[keeping.kind],
            reference=keeping.reference,
            records=keeping.records,
        )
        added.review_at.FromDatetime(keeping.review_at)
    return message


def erasure(view: ErasureView) -> erasures_pb2.Erasure:
    """An erasure."""
    one = view.erasure
    message = erasures_pb2.Erasure(
        erasure_id=one.erasure_id,
        organization_id=one.organization_id,
        state=_ERASURE_STATES[one.state],
        kept=view.kept,
        certificate_id="" if view.certificate is None else view.certificate.certificate_id,
        complete=one.is_complete,
    )
    message.started_at.FromDatetime(one.started_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    _add_receipts(message, one.receipts)
    return message


def subject_erasure(view: SubjectView) -> erasures_pb2.Erasure:
    """An end user's erasure; whose, nobody learns from it."""
    one = view.erasure
    message = erasures_pb2.Erasure(
        erasure_id=one.erasure_id,
        organization_id=one.organization_id,
        state=_SUBJECT_STATES[one.state],
        kept=view.kept,
        certificate_id="" if view.certificate is None else view.certificate.certificate_id,
        complete=one.is_complete,
        subject_commitment=one.commitment,
    )
    message.started_at.FromDatetime(one.started_at)
    if one.fenced_at is not None:
        message.fenced_at.FromDatetime(one.fenced_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    _add_receipts(message, one.receipts)
    return message


def content_erasure(view: ContentView) -> erasures_pb2.Erasure:
    """An erasure of content from before zero data retention."""
    one = view.erasure
    message = erasures_pb2.Erasure(
        erasure_id=one.erasure_id,
        organization_id=one.organization_id,
        state=_CONTENT_STATES[one.state],
        kept=view.kept,
        certificate_id="" if view.certificate is None else view.certificate.certificate_id,
        complete=one.is_complete,
    )
    message.content_before.FromDatetime(one.before)
    message.started_at.FromDatetime(one.started_at)
    if one.fenced_at is not None:
        message.fenced_at.FromDatetime(one.fenced_at)
    if one.ended_at is not None:
        message.ended_at.FromDatetime(one.ended_at)
    _add_receipts(message, [] if one.logged is None else [one.logged])
    return message


def _add_receipts(message: erasures_pb2.Erasure, receipts: Sequence[Receipt]) -> None:
    for receipt in receipts:
        added = message.receipts.add(service=receipt.service, removed=receipt.removed)
        added.erased_at.FromDatetime(receipt.erased_at)


def certificate(one: Certificate) -> certificates_pb2.Certificate:
    """A certificate in short."""
    message = certificates_pb2.Certificate(
        certificate_id=one.certificate_id,
        organization_id=one.organization_id,
        act_id=one.act_id,
        further=one.is_further,
    )
    message.signed_at.FromDatetime(one.signed_at)
    return message

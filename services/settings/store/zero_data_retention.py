"""Requests for zero data retention and the decisions on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from kept.settings.v1 import organizations_pb2, zero_data_retention_pb2
from services.settings.store.tables import organizations
from services.settings.store.tables import zero_data_retention_decisions as decisions
from services.settings.store.tables import zero_data_retention_requests as requests
from shared.voices import Voice


@dataclass(frozen=True)
class ZdrRequest:
    """One request. approvals, end_approvals: voices for it, all there were, and for its end, in their order. ends_at: when it ends, for
    end_cause. erasure_id: of what was logged before, once retention has taken it over."""

    request_id: str
    organization_id: str
    state: "zero_data_retention_pb2.ZeroDataRetentionState.ValueType"
    commitments_version: str
    requested_by: str
    requested_at: datetime
    effective_at: datetime | None = None
    approvals: tuple[Voice, ...] = ()
    copied_to: str = ""
    end_approvals: tuple[Voice, ...] = ()
    ends_at: datetime | None = None
    end_reason: str = ""
    end_effective_at: datetime | None = None
    erase_logged_before: bool = False
    erasure_id: str = ""
    end_cause: "zero_data_retention_pb2.ZeroDataRetentionEnd.ValueType" = (
        zero_data_retention_pb2.ZERO_DATA_RETENTION_END_UNSPECIFIED
    )


def add(tx: Connection, request: ZdrRequest) -> None:
    """Adds a request; the organization's row is locked, and no other request of it is open."""
    tx.execute(
        insert(requests).values(
            request_id=request.request_id,
            organization_id=request.organization_id,
            state=request.state,
            commitments_version=request.commitments_version,
            requested_by=request.requested_by,
            requested_at=request.requested_at,
            copied_to=request.copied_to,
            erase_logged_before=request.erase_logged_before,
        )
    )


def find(tx: Connection, request_id: str) -> ZdrRequest | None:
    """One request."""
    rows = tx.execute(select(requests).where(requests.c.request_id == request_id)).all()
    found = _with_approvals(tx, rows)
    return found[0] if found else None


def find_open(tx: Connection, organization_id: str) -> ZdrRequest | None:
    """The organization's request that waits for a decision."""
    rows = tx.execute(
        select(requests).where(
            requests.c.organization_id == organization_id,
            requests.c.state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_REQUESTED,
        )
    ).all()
    found = _with_approvals(tx, rows)
    return found[0] if found else None


def set_erasure(tx: Connection, request_id: str, erasure_id: str) -> None:
    """Retention has taken over; nothing where the organization is erased meanwhile."""
    tx.execute(update(requests).where(requests.c.request_id == request_id).values(erasure_id=erasure_id))


def list_of(tx: Connection, organization_id: str, limit: int) -> list[ZdrRequest]:
    """An organization's, newest first."""
    return _newest(tx, requests.c.organization_id == organization_id, limit)


def list_open(tx: Connection, limit: int) -> list[ZdrRequest]:
    """All that wait for a decision, newest first."""
    return _newest(tx, requests.c.state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_REQUESTED, limit)


def _newest(tx: Connection, condition: Any, limit: int) -> list[ZdrRequest]:
    rows = tx.execute(
        select(requests)
        .where(condition)
        .order_by(requests.c.requested_at.desc(), requests.c.request_id.desc())
        .limit(limit)
    ).all()
    return _with_approvals(tx, rows)


def _with_approvals(tx: Connection, rows: Iterable[Row[Any]]) -> list[ZdrRequest]:
    found = list(rows)
    approvals: dict[str, list[Voice]] = {row.request_id: [] for row in found}
    if found:
        for row in tx.execute(
            select(decisions.c.request_id, decisions.c.decided_by, decisions.c.decided_at)
            .where(decisions.c.request_id.in_(approvals), decisions.c.approve)
            .order_by(decisions.c.request_id, decisions.c.number)
        ):
            approvals[row.request_id].append(Voice(row.decided_by, row.decided_at))
    return [_made(row, approvals[row.request_id]) for row in found]


def _made(row: Row[Any], approvals: Iterable[Voice]) -> ZdrRequest:
    values = dict(row._mapping)
    # A process of the version before writes down who, and not when.
    given = zip_longest(values.pop("end_approved_by"), values.pop("end_approved_at"))
    return ZdrRequest(
        **values, approvals=tuple(approvals), end_approvals=tuple(Voice(who, at) for who, at in given)
    )


def add_decision(
    tx: Connection, request: ZdrRequest, decided_by: str, approve: bool, reason: str, decided_at: datetime
) -> None:
    """Adds one person's decision; the organization's row is locked and the request still open."""
    tx.execute(
        insert(decisions).values(
            request_id=request.request_id,
            number=len(request.approvals) + 1,
            decided_by=decided_by,
            approve=approve,
            reason=reason,
            decided_at=decided_at,
        )
    )


def end(
    tx: Connection,
    request_id: str,
    state: "zero_data_retention_pb2.ZeroDataRetentionState.ValueType",
    effective_at: datetime | None,
) -> None:
    """Decided."""
    tx.execute(
        update(requests)
        .where(requests.c.request_id == request_id)
        .values(state=state, effective_at=effective_at)
    )


def change(tx: Connection, request: ZdrRequest) -> None:
    """Stores how far its end is; the organization's row is locked."""
    tx.execute(
        update(requests)
        .where(requests.c.request_id == request.request_id)
        .values(
            state=request.state,
            end_approved_by=[voice.person_id for voice in request.end_approvals],
            # Those without an instant come last, for what is written anew holds none of them.
            end_approved_at=[voice.given_at for voice in request.end_approvals if voice.given_at],
            ends_at=request.ends_at,
            end_cause=request.end_cause,
            end_reason=request.end_reason,
            end_effective_at=request.end_effective_at,
        )
    )


def list_ending(tx: Connection, now: datetime, limit: int) -> list[ZdrRequest]:
    """Those in force whose notice is over by now."""
    rows = tx.execute(
        select(requests)
        .where(
            requests.c.state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED,
            requests.c.ends_at <= now,
        )
        .order_by(requests.c.ends_at, requests.c.request_id)
        .limit(limit)
    ).all()
    return _with_approvals(tx, rows)


def list_of_changed_eligibility(tx: Connection, limit: int) -> list[tuple[str, str]]:
    """Request and organization, of those in force whose organization is not eligible while no end is named, or is again while one is
    named for that. As it looks without the lock."""
    is_eligible = and_(
        organizations.c.tier == organizations_pb2.TIER_PAYING,
        organizations.c.deployment == organizations_pb2.DEPLOYMENT_SAAS,
    )
    named = requests.c.end_cause == zero_data_retention_pb2.ZERO_DATA_RETENTION_END_NOT_ELIGIBLE
    rows = tx.execute(
        select(requests.c.request_id, requests.c.organization_id)
        .join(organizations, organizations.c.organization_id == requests.c.organization_id)
        .where(
            organizations.c.zero_data_retention,
            organizations.c.state == organizations_pb2.ORGANIZATION_STATE_ACTIVE,
            requests.c.state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED,
            or_(and_(~is_eligible, requests.c.ends_at.is_(None)), and_(is_eligible, named)),
        )
        .order_by(requests.c.request_id)
        .limit(limit)
    )
    return [(row.request_id, row.organization_id) for row in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's requests with their decisions; how many requests."""
    own = select(requests.c.request_id).where(requests.c.organization_id == organization_id)
    tx.execute(delete(decisions).where(decisions.c.request_id.in_(own)))
    return tx.execute(delete(requests).where(requests.c.organization_id == organization_id)).rowcount

"""Tables and queries of grants, and of what they opened."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    and_,
    exists,
    false,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from kept.access_control.v1 import authz_pb2, grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants import APPROVED, EXPIRED, REQUESTED, REVOKED, DataScope, Grant, Vote
from services.access_control.store import metadata

# `number` is the order of requests. A grant of data has an organization, one of a power has none. `record_ids` is their concatenation,
# 16 bytes each. `request_digest` tells a repeated request from a reused id.
grants = Table(
    "grants",
    metadata,
    Column("grant_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("requested_by", Text, ForeignKey("people.person_id"), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("organization_id", Text, nullable=False),
    Column("detail", Integer, nullable=False),
    Column("budget", Integer, nullable=False),
    Column("covers_from", DateTime(timezone=True)),
    Column("covers_until", DateTime(timezone=True)),
    Column("record_ids", LargeBinary, nullable=False),
    Column("case_id", Text, nullable=False),
    Column("power", Integer, nullable=False),
    Column("purpose", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("request_expires_at", DateTime(timezone=True), nullable=False),
    Column("duration", Interval, nullable=False),
    Column("start_at", DateTime(timezone=True)),
    Column("valid_from", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("used", Integer, nullable=False, server_default="0"),
    UniqueConstraint("requested_by", "request_id", name="grants_request"),
    UniqueConstraint("number", name="grants_number"),
    Index("grants_by_organization", "organization_id", "number"),
    Index("grants_by_case", "case_id", postgresql_where=text("case_id <> ''")),
    Index("grants_revoked", "ended_at", postgresql_where=text(f"state = {REVOKED}")),
    Index("grants_open", "requested_by", postgresql_where=text(f"state IN ({REQUESTED}, {APPROVED})")),
)
approvals = Table(
    "approvals",
    metadata,
    Column("grant_id", Text, ForeignKey("grants.grant_id"), primary_key=True),
    Column("approved_by", Text, primary_key=True),
    Column("by_customer", Boolean, nullable=False),
    Column("approved_at", DateTime(timezone=True), nullable=False),
    Index("approvals_by_approver", "approved_by"),
)
opened_records = Table(
    "opened_records",
    metadata,
    Column("grant_id", Text, ForeignKey("grants.grant_id"), primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
permission_records = Table(
    "permission_records",
    metadata,
    Column("permission", Integer, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
_OPEN = grants.c.state.in_([REQUESTED, APPROVED])


@dataclass(frozen=True)
class Visible:
    """Which grants a list may show, beyond one's own (`person_id`): those one could decide, or an organization's."""

    person_id: str = ""
    purposes: frozenset[int] = frozenset()
    powers: frozenset[int] = frozenset()
    organization_id: str = ""


def add_request(tx: Connection, grant: Grant, digest: bytes) -> bool:
    """Adds a request. False where this person used the request id before."""
    data = grant.data
    return (
        tx.execute(
            insert(grants)
            .values(
                grant_id=grant.grant_id,
                requested_by=grant.requested_by,
                request_id=grant.request_id,
                request_digest=digest,
                organization_id=grant.organization_id,
                detail=data.detail if data else 0,
                budget=data.budget if data else 0,
                covers_from=data.start if data else None,
                covers_until=data.until if data else None,
                record_ids=b"".join(sorted(data.record_ids)) if data else b"",
                case_id=data.case_id if data else "",
                power=grant.power,
                purpose=grant.purpose,
                reason=grant.reason,
                ticket=grant.ticket,
                state=grant.state,
                requested_at=grant.requested_at,
                request_expires_at=grant.request_expires_at,
                duration=grant.duration,
                start_at=grant.start_at,
            )
            .on_conflict_do_nothing(constraint="grants_request")
            .returning(grants.c.grant_id)
        ).one_or_none()
        is not None
    )


def by_request(tx: Connection, person_id: str, request_id: str) -> tuple[Grant, bytes] | None:
    """What the person asked for under that id before, and the request's digest."""
    row = tx.execute(
        select(grants.c.grant_id, grants.c.request_digest).where(
            grants.c.requested_by == person_id, grants.c.request_id == request_id
        )
    ).one_or_none()
    return None if row is None else (_loaded(tx, grants.c.grant_id == row.grant_id)[0][1], row.request_digest)


def load(tx: Connection, grant_id: str, *, lock: bool = False) -> Grant | None:
    """A grant with its votes. lock: nobody else changes it, or counts records under it, until the transaction ends."""
    if lock:
        tx.execute(select(grants.c.grant_id).where(grants.c.grant_id == grant_id).with_for_update())
    found = _loaded(tx, grants.c.grant_id == grant_id)
    return found[0][1] if found else None


def load_many(tx: Connection, grant_ids: Collection[str]) -> dict[str, Grant]:
    """Grants by id; unknown ids are left out."""
    return {grant.grant_id: grant for _, grant in _loaded(tx, grants.c.grant_id.in_(list(grant_ids)))}


def _loaded(
    tx: Connection, condition: ColumnElement[bool], limit: int | None = None
) -> list[tuple[int, Grant]]:
    """Grants with their numbers, newest first."""
    rows = tx.execute(select(grants).where(condition).order_by(grants.c.number.desc()).limit(limit)).all()
    votes: dict[str, list[Vote]] = {}
    for row in tx.execute(
        select(approvals)
        .where(approvals.c.grant_id.in_([row.grant_id for row in rows]))
        .order_by(approvals.c.approved_at, approvals.c.approved_by)
    ):
        votes.setdefault(row.grant_id, []).append(Vote(row.approved_by, row.approved_at, row.by_customer))
    return [(row.number, _grant(row, tuple(votes.get(row.grant_id, ())))) for row in rows]


def _grant(row: Any, votes: tuple[Vote, ...]) -> Grant:
    data = None
    if row.organization_id:
        data = DataScope(
            row.organization_id,
            grants_pb2.Detail.ValueType(row.detail),
            row.budget,
            row.covers_from,
            row.covers_until,
            frozenset(row.record_ids[place : place + 16] for place in range(0, len(row.record_ids), 16)),
            row.case_id,
        )
    return Grant(
        row.grant_id,
        row.requested_by,
        row.request_id,
        data,
        roles_pb2.Power.ValueType(row.power),
        grants_pb2.Purpose.ValueType(row.purpose),
        row.reason,
        row.ticket,
        grants_pb2.GrantState.ValueType(row.state),
        row.requested_at,
        row.request_expires_at,
        row.duration,
        row.start_at,
        votes,
        row.valid_from,
        row.expires_at,
        row.ended_at,
        row.used,
    )


def list_visible(
    tx: Connection,
    visible: Visible,
    now: datetime,
    *,
    state: int,
    organization_id: str,
    before: int | None,
    limit: int,
) -> list[tuple[int, Grant]]:
    """Grants that may be shown, with their numbers, newest first. state: 0 for all, as `Grant.state_at(now)` says it."""
    seen: ColumnElement[bool] = false()
    if visible.person_id:
        seen = or_(
            grants.c.requested_by == visible.person_id,
            and_(grants.c.organization_id != "", grants.c.purpose.in_(sorted(visible.purposes))),
            and_(grants.c.organization_id == "", grants.c.power.in_(sorted(visible.powers))),
        )
    elif visible.organization_id:
        seen = grants.c.organization_id == visible.organization_id
    conditions = [seen]
    if before is not None:
        conditions.append(grants.c.number < before)
    if organization_id:
        conditions.append(grants.c.organization_id == organization_id)
    lapsed = or_(
        and_(grants.c.state == REQUESTED, grants.c.request_expires_at <= now),
        and_(grants.c.state == APPROVED, grants.c.expires_at <= now),
    )
    if state == EXPIRED:
        conditions.append(lapsed)
    elif state in (REQUESTED, APPROVED):
        conditions.append(and_(grants.c.state == state, ~lapsed))
    elif state:
        conditions.append(grants.c.state == state)
    return _loaded(tx, and_(*conditions), limit)


def add_vote(tx: Connection, grant_id: str, vote: Vote) -> None:
    """Adds an approval; a second one of the same person changes nothing. The grant must be locked."""
    tx.execute(
        insert(approvals)
        .values(
            grant_id=grant_id,
            approved_by=vote.approved_by,
            by_customer=vote.by_customer,
            approved_at=vote.approved_at,
        )
        .on_conflict_do_nothing()
    )


def set_state(tx: Connection, grant: Grant) -> None:
    """Writes the grant's state and times. The grant must be locked."""
    tx.execute(
        update(grants)
        .where(grants.c.grant_id == grant.grant_id)
        .values(
            state=grant.state,
            valid_from=grant.valid_from,
            expires_at=grant.expires_at,
            ended_at=grant.ended_at,
        )
    )


def open_of_person(tx: Connection, person_id: str) -> list[Grant]:
    """Undecided and approved grants that the person asked for or approved, locked, in order of id."""
    voted = exists().where(approvals.c.grant_id == grants.c.grant_id, approvals.c.approved_by == person_id)
    return _lock_open(tx, or_(grants.c.requested_by == person_id, voted))


def open_of_organization(tx: Connection, organization_id: str) -> list[Grant]:
    """Undecided and approved grants on the organization, locked, in order of id."""
    return _lock_open(tx, grants.c.organization_id == organization_id)


def open_of_case(tx: Connection, case_id: str) -> list[Grant]:
    """Undecided and approved grants for the case, locked, in order of id."""
    return _lock_open(tx, grants.c.case_id == case_id)


def _lock_open(tx: Connection, condition: ColumnElement[bool]) -> list[Grant]:
    # In order of id everywhere, so that two who end grants never wait for each other in a circle.
    ids = tx.execute(
        select(grants.c.grant_id).where(_OPEN, condition).order_by(grants.c.grant_id).with_for_update()
    ).scalars()
    return sorted(load_many(tx, list(ids)).values(), key=lambda grant: grant.grant_id)


def powers_of(tx: Connection, person_id: str, now: datetime) -> list[Grant]:
    """Grants of powers that the person holds and that this is the time of."""
    return [
        grant
        for _, grant in _loaded(
            tx,
            and_(
                grants.c.requested_by == person_id,
                grants.c.state == APPROVED,
                grants.c.power != 0,
                grants.c.valid_from <= now,
                grants.c.expires_at > now,
            ),
        )
    ]


def revoked_since(tx: Connection, since: datetime) -> frozenset[str]:
    """Grants that ended before their time at or after an instant."""
    return frozenset(
        tx.execute(
            select(grants.c.grant_id).where(grants.c.state == REVOKED, grants.c.ended_at >= since)
        ).scalars()
    )


def count_records(tx: Connection, grant_id: str, record_ids: Iterable[bytes], at: datetime) -> int:
    """Counts records as opened under a grant, each once, and returns how many different ones there are now. The grant must be locked."""
    new = tx.execute(
        insert(opened_records)
        .values([{"grant_id": grant_id, "record_id": record_id, "opened_at": at} for record_id in record_ids])
        .on_conflict_do_nothing()
        .returning(opened_records.c.record_id)
    ).all()
    used: int = tx.execute(
        update(grants)
        .where(grants.c.grant_id == grant_id)
        .values(used=grants.c.used + len(new))
        .returning(grants.c.used)
    ).scalar_one()
    return used


def claim_records(
    tx: Connection,
    permission: "authz_pb2.ServicePermission.ValueType",
    record_ids: Collection[bytes],
    at: datetime,
) -> bool:
    """Uses a service's permission up for these records. False where one of them was opened by it before; roll back then."""
    claimed = tx.execute(
        insert(permission_records)
        .values(
            [
                {"permission": permission, "record_id": record_id, "opened_at": at}
                for record_id in sorted(record_ids)
            ]
        )
        .on_conflict_do_nothing()
        .returning(permission_records.c.record_id)
    ).all()
    return len(claimed) == len(record_ids)

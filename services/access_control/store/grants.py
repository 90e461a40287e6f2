"""Tables and queries of grants."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg.rows import namedtuple_row
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
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert

from kept.access_control.v1 import grants_pb2
from kept.options.v1 import roles_pb2
from services.access_control.grants.grant import (
    APPROVED,
    EXPIRED,
    REQUESTED,
    REVOKED,
    BrokenGlass,
    Extension,
    Grant,
    Vote,
)
from services.access_control.grants.messages import asked_of
from services.access_control.grants.scope import DataScope
from services.access_control.store import metadata
from shared.driver import driver_of

# `requested_by`: one of the workforce, or a customer's member. `number` is the order of requests. A grant of data has an organization, one
# of a power has none. `record_ids` is their concatenation, 16 bytes each. `request_digest` tells a repeated request from a reused id.
# `asked`: what was asked for (a message of the contract) where less was granted. `rules`: ids of policies, comma-separated.
# `review_due_at`: set where the glass was broken.
grants = Table(
    "grants",
    metadata,
    Column("grant_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("requested_by", Text, nullable=False),
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
    Column("permission", Integer, nullable=False),
    Column("asked", LargeBinary),
    Column("round", Integer, nullable=False, server_default="0"),
    Column("extension_duration", Interval),
    Column("extension_reason", Text, nullable=False, server_default=""),
    Column("extension_requested_at", DateTime(timezone=True)),
    Column("rules", Text, nullable=False, server_default=""),
    Column("review_due_at", DateTime(timezone=True)),
    Column("review_reminded", Boolean, nullable=False, server_default="false"),
    Column("review_verdict", Integer, nullable=False, server_default="0"),
    Column("reviewed_by", Text, nullable=False, server_default=""),
    Column("reviewed_at", DateTime(timezone=True)),
    Column("review_note", Text, nullable=False, server_default=""),
    UniqueConstraint("requested_by", "request_id", name="grants_request"),
    UniqueConstraint("number", name="grants_number"),
    Index("grants_by_organization", "organization_id", "number"),
    Index("grants_by_case", "case_id", postgresql_where=text("case_id <> ''")),
    Index("grants_revoked", "ended_at", postgresql_where=text(f"state = {REVOKED}")),
    Index("grants_open", "requested_by", postgresql_where=text(f"state IN ({REQUESTED}, {APPROVED})")),
    Index(
        "grants_unreviewed",
        "review_due_at",
        postgresql_where=text("review_due_at IS NOT NULL AND review_verdict = 0"),
    ),
)
approvals = Table(
    "approvals",
    metadata,
    Column("grant_id", Text, ForeignKey("grants.grant_id"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("approved_by", Text, primary_key=True),
    Column("by_customer", Boolean, nullable=False),
    Column("approved_at", DateTime(timezone=True), nullable=False),
    Index("approvals_by_approver", "approved_by"),
)
_OPEN = grants.c.state.in_([REQUESTED, APPROVED])


@dataclass(frozen=True)
class Visible:
    """Which grants a list may show, beyond one's own (`person_id`): those one could decide, or an organization's. no_cases_of: of these
    organizations none that is for a case."""

    person_id: str = ""
    purposes: frozenset[int] = frozenset()
    powers: frozenset[int] = frozenset()
    organization_id: str = ""
    no_cases_of: frozenset[str] = frozenset()


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
                permission=data.permission if data else 0,
                rules="",
                review_due_at=grant.broken_glass.review_due_at if grant.broken_glass else None,
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
    return None if row is None else (loaded(tx, grants.c.grant_id == row.grant_id)[0][1], row.request_digest)


_LOAD: Final[LiteralString] = "SELECT * FROM grants WHERE grant_id = %s"
_LOAD_LOCKED: Final[LiteralString] = _LOAD + " FOR UPDATE"
_VOTES: Final[LiteralString] = (
    "SELECT approved_by, approved_at, by_customer, round FROM approvals WHERE grant_id = %s ORDER BY approved_at, approved_by"
)


def load(tx: Connection, grant_id: str, *, lock: bool = False) -> Grant | None:
    """A grant with its votes. lock: nobody else changes it, or counts records under it, until the transaction ends."""
    # By the driver itself: this is in every read. Votes are read after the lock is had, so that they are those of the same state.
    with driver_of(tx).cursor(row_factory=namedtuple_row) as cursor:
        row = cursor.execute(_LOAD_LOCKED if lock else _LOAD, (grant_id,)).fetchone()
        if row is None:
            return None
        votes = cursor.execute(_VOTES, (grant_id,)).fetchall()
    return _grant(row, tuple(_vote(vote) for vote in votes))


def load_many(tx: Connection, grant_ids: Collection[str]) -> dict[str, Grant]:
    """Grants by id; unknown ids are left out."""
    return {grant.grant_id: grant for _, grant in loaded(tx, grants.c.grant_id.in_(list(grant_ids)))}


def loaded(
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
        votes.setdefault(row.grant_id, []).append(_vote(row))
    return [(row.number, _grant(row, tuple(votes.get(row.grant_id, ())))) for row in rows]


def _vote(row: Any) -> Vote:
    return Vote(row.approved_by, row.approved_at, row.by_customer, row.round)


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
            grants_pb2.ServicePermission.ValueType(row.permission),
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
        None if row.asked is None else asked_of(row.asked),
        row.round,
        _extension(row),
        tuple(row.rules.split(",")) if row.rules else (),
        _broken_glass(row),
    )


def _extension(row: Any) -> Extension | None:
    if row.extension_duration is None:
        return None
    return Extension(row.extension_duration, row.extension_reason, row.extension_requested_at)


def _broken_glass(row: Any) -> BrokenGlass | None:
    if row.review_due_at is None:
        return None
    return BrokenGlass(
        row.review_due_at,
        grants_pb2.BreakGlassVerdict.ValueType(row.review_verdict),
        row.reviewed_by,
        row.reviewed_at,
        row.review_note,
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
    if visible.no_cases_of:
        conditions.append(
            or_(grants.c.case_id == "", grants.c.organization_id.not_in(sorted(visible.no_cases_of)))
        )
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
    return loaded(tx, and_(*conditions), limit)


def open_of_person(tx: Connection, person_id: str) -> list[Grant]:
    """Undecided and approved grants that the person asked for or approved, locked, in order of id."""
    voted = exists().where(approvals.c.grant_id == grants.c.grant_id, approvals.c.approved_by == person_id)
    return _lock_open(tx, or_(grants.c.requested_by == person_id, voted))


def open_of_people(tx: Connection, person_ids: Collection[str]) -> list[Grant]:
    """Undecided and approved grants that one of the people asked for or approved, locked, in order of id."""
    if not person_ids:
        return []
    ids = list(person_ids)
    voted = exists().where(approvals.c.grant_id == grants.c.grant_id, approvals.c.approved_by.in_(ids))
    return _lock_open(tx, or_(grants.c.requested_by.in_(ids), voted))


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
        for _, grant in loaded(
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


def count_in_force(tx: Connection, now: datetime) -> tuple[int, int]:
    """How many grants of data, and how many of powers, are good now."""
    is_power = grants.c.power != 0
    row = tx.execute(
        select(func.count().filter(~is_power), func.count().filter(is_power)).where(
            grants.c.state == APPROVED, grants.c.valid_from <= now, grants.c.expires_at > now
        )
    ).one()
    return int(row[0]), int(row[1])


def revoked_since(tx: Connection, since: datetime) -> frozenset[str]:
    """Grants that ended before their time at or after an instant."""
    return frozenset(
        tx.execute(
            select(grants.c.grant_id).where(grants.c.state == REVOKED, grants.c.ended_at >= since)
        ).scalars()
    )

"""Queries of reviews, over everything that is reviewed: roles, agreements, providers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Connection,
    DateTime,
    Integer,
    Select,
    Table,
    and_,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from kept.access_control.v1 import directory_pb2
from kept.options.v1 import roles_pb2
from services.access_control.people.standing import Kinds, Review
from services.access_control.store.directory import people, role_assignments
from services.access_control.store.standing import agreements, providers, review_of, review_values

# What is reviewed, by the first word of its id.
_TABLES: Final[Mapping[str, tuple[Table, str]]] = {
    "role": (role_assignments, "role_assignment_id"),
    "agreement": (agreements, "agreement_id"),
    "provider": (providers, "provider_id"),
}
_REVIEW: Final = (
    "reviewed_by",
    "reviewed_at",
    "review_due_at",
    "lapses_at",
    "due_noted_at",
    "lapse_noted_at",
)
_NEVER: Final = cast(null(), DateTime(timezone=True))


@dataclass(frozen=True)
class Reviewed:
    """Something that is reviewed and was not ended. holder_id, holder_name: of the person or provider whom it is about. role: of a role.
    kinds, expires_at: of an agreement. confirmed: whether a second person has confirmed it at all."""

    subject_id: str
    holder_id: str
    holder_name: str
    role: "roles_pb2.StaffRole.ValueType"
    kinds: Kinds
    expires_at: datetime | None
    confirmed: bool
    review: Review


def _everything() -> Select[Any]:
    """All that was not ended, of people who are not disabled and of providers that were not ended."""
    role = (
        select(
            role_assignments.c.role_assignment_id.label("subject_id"),
            role_assignments.c.person_id.label("holder_id"),
            people.c.display_name.label("holder_name"),
            role_assignments.c.role.label("role"),
            cast(null(), ARRAY(Integer)).label("kinds"),
            _NEVER.label("expires_at"),
            (role_assignments.c.confirmed_by != "").label("confirmed"),
            *(role_assignments.c[name] for name in _REVIEW),
        )
        .join_from(role_assignments, people, people.c.person_id == role_assignments.c.person_id)
        .where(role_assignments.c.ended_at.is_(None), people.c.disabled_at.is_(None))
    )
    agreement = (
        select(
            agreements.c.agreement_id,
            func.coalesce(agreements.c.person_id, agreements.c.provider_id),
            func.coalesce(people.c.display_name, providers.c.name),
            literal(0),
            agreements.c.kinds,
            agreements.c.expires_at,
            literal(True),
            *(agreements.c[name] for name in _REVIEW),
        )
        .join_from(agreements, people, people.c.person_id == agreements.c.person_id, isouter=True)
        .join(providers, providers.c.provider_id == agreements.c.provider_id, isouter=True)
        .where(
            agreements.c.ended_at.is_(None), people.c.disabled_at.is_(None), providers.c.ended_at.is_(None)
        )
    )
    provider = select(
        providers.c.provider_id,
        providers.c.provider_id,
        providers.c.name,
        literal(0),
        cast(null(), ARRAY(Integer)),
        _NEVER,
        providers.c.confirmed_by != "",
        *(providers.c[name] for name in _REVIEW),
    ).where(providers.c.ended_at.is_(None))
    return select(union_all(role, agreement, provider).subquery())


def _reviewed(row: Any) -> Reviewed:
    return Reviewed(
        row.subject_id,
        row.holder_id,
        row.holder_name,
        roles_pb2.StaffRole.ValueType(row.role),
        frozenset(directory_pb2.AgreementKind.ValueType(kind) for kind in row.kinds or ()),
        row.expires_at,
        row.confirmed,
        review_of(row),
    )


def list_due(tx: Connection, now: datetime, after: tuple[datetime, str] | None, limit: int) -> list[Reviewed]:
    """What is to be confirmed or has lapsed, the longest unconfirmed first, after (reviewed_at, subject_id). Agreements that are over
    anyway are left out."""
    query = _everything()
    column = query.selected_columns
    query = query.where(
        column.review_due_at <= now, or_(column.expires_at.is_(None), column.expires_at > now)
    )
    if after is not None:
        query = query.where(tuple_(column.reviewed_at, column.subject_id) > tuple_(*map(literal, after)))
    return [
        _reviewed(row)
        for row in tx.execute(query.order_by(column.reviewed_at, column.subject_id).limit(limit))
    ]


def unnoted(tx: Connection, now: datetime, limit: int) -> list[tuple[Reviewed, bool]]:
    """What became due, or is over, and was not noted as that yet; with whether it is over. The longest over first."""
    query = _everything()
    column = query.selected_columns
    ends_at = func.least(column.lapses_at, column.expires_at)  # NULLs are ignored
    is_over = ends_at <= now
    query = query.where(
        or_(
            and_(is_over, column.lapse_noted_at.is_(None)),
            and_(~is_over, column.review_due_at <= now, column.due_noted_at.is_(None)),
        )
    )
    rows = tx.execute(query.add_columns(is_over.label("is_over")).order_by(ends_at).limit(limit))
    return [(_reviewed(row), row.is_over) for row in rows]


def reviewed(tx: Connection, subject_id: str) -> Reviewed | None:
    """One thing that was not ended. Lock whom it is about first."""
    query = _everything()
    row = tx.execute(query.where(query.selected_columns.subject_id == subject_id)).one_or_none()
    return None if row is None else _reviewed(row)


def _row(subject_id: str) -> tuple[Table, Any]:
    table, key = _TABLES[subject_id.partition("_")[0]]
    return table, and_(table.c[key] == subject_id, table.c.ended_at.is_(None))


def confirm(tx: Connection, subject_id: str, review: Review) -> None:
    """Writes a confirmation. Whom it is about must be locked."""
    table, condition = _row(subject_id)
    tx.execute(update(table).where(condition).values(**review_values(review)))


def end(tx: Connection, subject_id: str, by: str, at: datetime) -> None:
    """Ends a role, an agreement or a provider. Whom it is about must be locked."""
    table, condition = _row(subject_id)
    tx.execute(update(table).where(condition).values(ended_by=by, ended_at=at))


def note(tx: Connection, subject_id: str, at: datetime, *, is_over: bool) -> bool:
    """Notes that something became due, or is over. False where another did so, or it ended."""
    table, condition = _row(subject_id)
    column = table.c.lapse_noted_at if is_over else table.c.due_noted_at
    return (
        tx.execute(
            update(table).where(condition, column.is_(None)).values({column: at}).returning(column)
        ).one_or_none()
        is not None
    )

"""Tables and queries of the directory: people and their roles; customers' members; erased organizations."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from kept.options.v1 import roles_pb2
from services.access_control.people.person import Identity as PersonIdentity
from services.access_control.people.person import Member, Person, RoleAssignment, signed_until
from services.access_control.people.standing import Review, ReviewTerms
from services.access_control.store import identities, metadata, standing
from services.access_control.store.affiliations import affiliations

Lock = Literal["share", "update"]

# `number` is the order of creation. `email_folded` makes that nobody is two people by writing a letter larger.
people = Table(
    "people",
    metadata,
    Column("person_id", Text, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_folded", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("disabled_at", DateTime(timezone=True)),
    Column("provider_id", Text, ForeignKey("providers.provider_id")),
    UniqueConstraint("email_folded", name="people_email"),
    UniqueConstraint("number", name="people_number"),
    Index("people_by_provider", "provider_id", postgresql_where=text("provider_id IS NOT NULL")),
)
role_assignments = Table(
    "role_assignments",
    metadata,
    Column("role_assignment_id", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("people.person_id"), nullable=False),
    Column("role", Integer, nullable=False),
    Column("assigned_by", Text, nullable=False),
    Column("assigned_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_by", Text, nullable=False, server_default=""),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("ended_by", Text, nullable=False, server_default=""),
    Column("ended_at", DateTime(timezone=True)),
    *standing.review_columns(),
    Index(
        "role_assignments_standing",
        "person_id",
        "role",
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
    ),
)
members = Table(
    "members",
    metadata,
    Column("member_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("role", Integer, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("members_by_organization", "organization_id"),
)
erasures = Table(
    "erasures",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("erasure_id", Text, nullable=False),
    Column("erased_at", DateTime(timezone=True), nullable=False),
    Column("grants", BigInteger, nullable=False),
    Column("members", BigInteger, nullable=False),
)


def lock_everybody(tx: Connection) -> list[Person]:
    """Everybody there is; nobody is added or changed until the transaction ends."""
    tx.execute(text("LOCK TABLE people IN EXCLUSIVE MODE"))
    return [found for _, found in list_people(tx, 0, None)]


def add_person(tx: Connection, person: Person, identity: PersonIdentity, at: datetime) -> bool:
    """Adds a person with one identity. False where the e-mail address or the identity is taken; roll back then."""
    added = tx.execute(
        insert(people)
        .values(
            person_id=person.person_id,
            display_name=person.display_name,
            email=person.email,
            email_folded=person.email.casefold(),
            created_at=at,
            provider_id=person.provider.provider_id if person.provider is not None else None,
        )
        .on_conflict_do_nothing()
        .returning(people.c.person_id)
    ).one_or_none()
    return added is not None and identities.add_identity(tx, identity)


def person_of_identity(tx: Connection, issuer: str, subject: str) -> Person | None:
    """The one person behind an identity."""
    found = identities.person_id_of(tx, issuer, subject)
    return None if found is None else person(tx, found)


def person(tx: Connection, person_id: str, lock: Lock | None = None) -> Person | None:
    """A person. lock: "share" keeps the person's standing as it is until the transaction ends, "update" is for who changes it."""
    if lock is not None:
        _lock(tx, person_id, lock)
    return people_by_id(tx, [person_id]).get(person_id)


def lock_people(tx: Connection, kept: Collection[str], changed: str = "") -> None:
    """Locks several, in order of id, so that two who do never wait for each other in a circle: the standing of `kept` stays as it is until
    the transaction ends, `changed` is to be changed. Lock a provider first."""
    for person_id in sorted({*kept, changed} - {""}):
        _lock(tx, person_id, "update" if person_id == changed else "share")


def _lock(tx: Connection, person_id: str, lock: Lock) -> None:
    tx.execute(
        select(people.c.person_id)
        .where(people.c.person_id == person_id)
        .with_for_update(read=lock == "share")
    )


def people_by_id(tx: Connection, person_ids: Collection[str]) -> dict[str, Person]:
    """People by id; unknown ids are left out."""
    if not person_ids:
        return {}
    return {
        found.person_id: found for _, found in _people(tx, people.c.person_id.in_(list(person_ids)), None)
    }


def lock_people_of(tx: Connection, provider_id: str) -> list[str]:
    """Ids of the provider's people, whose standing nobody changes or decides on until the transaction ends. Lock the provider first, so
    that none is added."""
    return list(
        tx.execute(
            select(people.c.person_id)
            .where(people.c.provider_id == provider_id)
            .order_by(people.c.person_id)
            .with_for_update()
        ).scalars()
    )


def list_people(tx: Connection, after: int, limit: int | None) -> list[tuple[int, Person]]:
    """People in order of creation, each with its number, after that number."""
    return _people(tx, people.c.number > after, limit)


def _people(tx: Connection, condition: Any, limit: int | None) -> list[tuple[int, Person]]:
    # With who they are in one look: a person is in every read.
    declared = func.array(
        select(affiliations.c.organization_id)
        .where(affiliations.c.person_id == people.c.person_id)
        .scalar_subquery()
    ).label("affiliations")
    rows = tx.execute(select(people, declared).where(condition).order_by(people.c.number).limit(limit)).all()
    ids = [row.person_id for row in rows]
    roles: dict[str, list[RoleAssignment]] = {}
    for row in tx.execute(
        _assignments()
        .where(role_assignments.c.person_id.in_(ids), role_assignments.c.ended_at.is_(None))
        .order_by(role_assignments.c.assigned_at, role_assignments.c.role_assignment_id)
    ):
        roles.setdefault(row.person_id, []).append(_assignment(row))
    signed = standing.agreements_of(tx, ids)
    providers = standing.providers_by_id(tx, {row.provider_id for row in rows if row.provider_id is not None})
    found = []
    for row in rows:
        own = tuple(signed.get(row.person_id, ()))
        provider = providers.get(row.provider_id)
        held = tuple(roles.get(row.person_id, ()))
        person = Person(
            row.person_id,
            row.display_name,
            row.email,
            held,
            signed_until(own, provider),
            row.disabled_at is not None,
            provider,
            own,
            frozenset(row.affiliations),
        )
        found.append((row.number, person))
    return found


def _assignments() -> Select[Any]:
    return select(role_assignments)


def _assignment(row: Any) -> RoleAssignment:
    return RoleAssignment(
        row.role_assignment_id,
        row.person_id,
        roles_pb2.StaffRole.ValueType(row.role),
        row.assigned_by,
        row.assigned_at,
        row.confirmed_by,
        standing.review_of(row),
    )


def assignment(tx: Connection, role_assignment_id: str) -> RoleAssignment | None:
    """A role that has not ended. Lock its person first."""
    row = tx.execute(
        _assignments().where(
            role_assignments.c.role_assignment_id == role_assignment_id, role_assignments.c.ended_at.is_(None)
        )
    ).one_or_none()
    return None if row is None else _assignment(row)


def add_assignment(tx: Connection, role: RoleAssignment) -> None:
    """Adds a proposed or confirmed role; the person must be locked and must not have it. Without a review it is confirmed by who made it,
    for the time that is usual."""
    review = role.review or ReviewTerms().confirmed(role.confirmed_by or role.assigned_by, role.assigned_at)
    tx.execute(
        insert(role_assignments).values(
            role_assignment_id=role.role_assignment_id,
            person_id=role.person_id,
            role=role.role,
            assigned_by=role.assigned_by,
            assigned_at=role.assigned_at,
            confirmed_by=role.confirmed_by,
            confirmed_at=role.assigned_at if role.confirmed_by else None,
            **standing.review_values(review),
        )
    )


def confirm_assignment(tx: Connection, role_assignment_id: str, by: str, review: Review) -> None:
    """The role counts from now on."""
    tx.execute(
        update(role_assignments)
        .where(role_assignments.c.role_assignment_id == role_assignment_id)
        .values(confirmed_by=by, confirmed_at=review.reviewed_at, **standing.review_values(review))
    )


def end_assignment(tx: Connection, role_assignment_id: str, by: str, at: datetime) -> None:
    """The role counts no more."""
    tx.execute(
        update(role_assignments)
        .where(role_assignments.c.role_assignment_id == role_assignment_id)
        .values(ended_by=by, ended_at=at)
    )


def disable(tx: Connection, person_id: str, at: datetime) -> None:
    """The person is nobody from now on."""
    tx.execute(update(people).where(people.c.person_id == person_id).values(disabled_at=at))


def _member(row: Any) -> Member:
    return Member(
        row.member_id,
        row.organization_id,
        roles_pb2.CustomerRole.ValueType(row.role),
        row.display_name,
        row.revision,
    )


def member(tx: Connection, member_id: str, lock: Lock | None = None) -> Member | None:
    """A member, gone ones included."""
    query = select(members).where(members.c.member_id == member_id)
    if lock is not None:
        query = query.with_for_update(read=lock == "share")
    row = tx.execute(query).one_or_none()
    return None if row is None else _member(row)


def members_by_id(tx: Connection, member_ids: Collection[str]) -> dict[str, Member]:
    """Members by id; unknown ids are left out."""
    if not member_ids:
        return {}
    rows = tx.execute(select(members).where(members.c.member_id.in_(list(member_ids))))
    return {row.member_id: _member(row) for row in rows}


def admins(tx: Connection, organization_id: str) -> list[Member]:
    """The organization's admins, by id."""
    rows = tx.execute(
        select(members)
        .where(members.c.organization_id == organization_id, members.c.role == roles_pb2.CUSTOMER_ROLE_ADMIN)
        .order_by(members.c.member_id)
    )
    return [_member(row) for row in rows]


def sync_member(tx: Connection, changed: Member) -> bool:
    """Takes over a member. False where this or a newer revision is known, or the id is another organization's."""
    values = {
        "role": changed.role,
        "display_name": changed.display_name,
        "revision": changed.revision,
    }
    statement = insert(members).values(
        member_id=changed.member_id, organization_id=changed.organization_id, **values
    )
    return (
        tx.execute(
            statement.on_conflict_do_update(
                index_elements=[members.c.member_id],
                set_=values,
                where=(members.c.revision < changed.revision)
                & (members.c.organization_id == changed.organization_id),
            ).returning(members.c.member_id)
        ).one_or_none()
        is not None
    )


def lock_members(tx: Connection, organization_id: str) -> None:
    """Members of the organization come, change and are erased one act at a time, so that none comes back behind an erasure."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("members:" + organization_id, 0))))


def erase_members(tx: Connection, organization_id: str) -> int:
    """Takes names and roles of an organization's members away; ids stay. Returns how many there were."""
    return len(
        tx.execute(
            update(members)
            .where(members.c.organization_id == organization_id)
            .values(role=roles_pb2.CUSTOMER_ROLE_UNSPECIFIED, display_name="")
            .returning(members.c.member_id)
        ).all()
    )


def erasure(tx: Connection, organization_id: str) -> tuple[datetime, dict[str, int]] | None:
    """When the organization was erased and what was removed, or None."""
    row = tx.execute(select(erasures).where(erasures.c.organization_id == organization_id)).one_or_none()
    return None if row is None else (row.erased_at, {"grants": row.grants, "members": row.members})


def add_erasure(tx: Connection, organization_id: str, erasure_id: str, at: datetime) -> bool:
    """Begins an erasure, with counts of nothing. False where there is one (also one that another transaction just committed)."""
    return (
        tx.execute(
            insert(erasures)
            .values(organization_id=organization_id, erasure_id=erasure_id, erased_at=at, grants=0, members=0)
            .on_conflict_do_nothing()
            .returning(erasures.c.organization_id)
        ).one_or_none()
        is not None
    )


def set_erased(tx: Connection, organization_id: str, removed: Mapping[str, int]) -> None:
    """Writes down what was removed."""
    tx.execute(update(erasures).where(erasures.c.organization_id == organization_id).values(**removed))

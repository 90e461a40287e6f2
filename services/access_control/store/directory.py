"""Tables and queries of the directory: people, their identities, roles and agreements; customers' members; erased organizations."""

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
    LargeBinary,
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
from services.access_control.people import Member, Person, RoleAssignment
from services.access_control.store import metadata

Lock = Literal["share", "update"]

# `number` is the order of creation. `email_folded` and `subject_folded` make that nobody is two people by writing a letter larger.
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
    UniqueConstraint("email_folded", name="people_email"),
    UniqueConstraint("number", name="people_number"),
)
identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("subject_folded", Text, nullable=False),
    Column("person_id", Text, ForeignKey("people.person_id"), nullable=False),
    UniqueConstraint("issuer", "subject_folded", name="identities_subject"),
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
    Index(
        "role_assignments_standing",
        "person_id",
        "role",
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
    ),
)
agreements = Table(
    "agreements",
    metadata,
    Column("agreement_id", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("people.person_id"), nullable=False),
    Column("document_sha256", LargeBinary, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Index("agreements_by_person", "person_id"),
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


def require_empty(tx: Connection) -> bool:
    """Whether there is nobody yet; nobody can be added by another until the transaction ends."""
    tx.execute(text("LOCK TABLE people IN SHARE ROW EXCLUSIVE MODE"))
    return tx.execute(select(func.count()).select_from(people)).scalar_one() == 0


def add_person(tx: Connection, person: Person, issuer: str, subject: str, at: datetime) -> bool:
    """Adds a person with one identity. False where the e-mail address or the identity is taken; roll back then."""
    added = tx.execute(
        insert(people)
        .values(
            person_id=person.person_id,
            display_name=person.display_name,
            email=person.email,
            email_folded=person.email.casefold(),
            created_at=at,
        )
        .on_conflict_do_nothing()
        .returning(people.c.person_id)
    ).one_or_none()
    return added is not None and add_identity(tx, person.person_id, issuer, subject)


def add_identity(tx: Connection, person_id: str, issuer: str, subject: str) -> bool:
    """Another way for the same person to sign in. False where it is taken."""
    return (
        tx.execute(
            insert(identities)
            .values(issuer=issuer, subject=subject, subject_folded=subject.casefold(), person_id=person_id)
            .on_conflict_do_nothing()
            .returning(identities.c.person_id)
        ).one_or_none()
        is not None
    )


def person_of_identity(tx: Connection, issuer: str, subject: str) -> Person | None:
    """The one person behind an identity."""
    found = tx.execute(
        select(identities.c.person_id).where(identities.c.issuer == issuer, identities.c.subject == subject)
    ).scalar_one_or_none()
    return None if found is None else person(tx, found)


def person(tx: Connection, person_id: str, lock: Lock | None = None) -> Person | None:
    """A person. lock: "share" keeps the person's standing as it is until the transaction ends, "update" is for who changes it."""
    if lock is not None:
        tx.execute(
            select(people.c.person_id)
            .where(people.c.person_id == person_id)
            .with_for_update(read=lock == "share")
        )
    return people_by_id(tx, [person_id]).get(person_id)


def people_by_id(tx: Connection, person_ids: Collection[str]) -> dict[str, Person]:
    """People by id; unknown ids are left out."""
    if not person_ids:
        return {}
    return {
        found.person_id: found for _, found in _people(tx, people.c.person_id.in_(list(person_ids)), None)
    }


def list_people(tx: Connection, after: int, limit: int) -> list[tuple[int, Person]]:
    """People in order of creation, each with its number, after that number."""
    return _people(tx, people.c.number > after, limit)


def _people(tx: Connection, condition: Any, limit: int | None) -> list[tuple[int, Person]]:
    rows = tx.execute(select(people).where(condition).order_by(people.c.number).limit(limit)).all()
    ids = [row.person_id for row in rows]
    roles: dict[str, list[RoleAssignment]] = {}
    for row in tx.execute(
        _assignments()
        .where(role_assignments.c.person_id.in_(ids), role_assignments.c.ended_at.is_(None))
        .order_by(role_assignments.c.assigned_at, role_assignments.c.role_assignment_id)
    ):
        roles.setdefault(row.person_id, []).append(_assignment(row))
    until: Mapping[str, datetime] = {
        row.person_id: row.until
        for row in tx.execute(
            select(agreements.c.person_id, func.max(agreements.c.expires_at).label("until"))
            .where(agreements.c.person_id.in_(ids))
            .group_by(agreements.c.person_id)
        )
    }
    return [
        (
            row.number,
            Person(
                row.person_id,
                row.display_name,
                row.email,
                tuple(roles.get(row.person_id, ())),
                until.get(row.person_id),
                row.disabled_at is not None,
            ),
        )
        for row in rows
    ]


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
    """Adds a proposed or confirmed role; the person must be locked and must not have it."""
    tx.execute(
        insert(role_assignments).values(
            role_assignment_id=role.role_assignment_id,
            person_id=role.person_id,
            role=role.role,
            assigned_by=role.assigned_by,
            assigned_at=role.assigned_at,
            confirmed_by=role.confirmed_by,
            confirmed_at=role.assigned_at if role.confirmed_by else None,
        )
    )


def confirm_assignment(tx: Connection, role_assignment_id: str, by: str, at: datetime) -> None:
    """The role counts from now on."""
    tx.execute(
        update(role_assignments)
        .where(role_assignments.c.role_assignment_id == role_assignment_id)
        .values(confirmed_by=by, confirmed_at=at)
    )


def end_assignment(tx: Connection, role_assignment_id: str, by: str, at: datetime) -> None:
    """The role counts no more."""
    tx.execute(
        update(role_assignments)
        .where(role_assignments.c.role_assignment_id == role_assignment_id)
        .values(ended_by=by, ended_at=at)
    )


def add_agreement(
    tx: Connection,
    agreement_id: str,
    person_id: str,
    document_sha256: bytes,
    signed_at: datetime,
    expires_at: datetime,
    by: str,
    at: datetime,
) -> None:
    """Adds a signed agreement."""
    tx.execute(
        insert(agreements).values(
            agreement_id=agreement_id,
            person_id=person_id,
            document_sha256=document_sha256,
            signed_at=signed_at,
            expires_at=expires_at,
            recorded_by=by,
            recorded_at=at,
        )
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

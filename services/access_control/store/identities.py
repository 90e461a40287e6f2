"""Table and queries of identities: how people sign in."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.people.person import Identity
from services.access_control.store import metadata
from shared.driver import driver_of

# Rows stay for ever: an identity that was somebody's never becomes somebody else's, and one that is proposed again is the same row.
# `subject_folded` makes that nobody is two people by writing a letter larger.
identities = Table(
    "identities",
    metadata,
    Column("identity_id", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_folded", Text, nullable=False),
    Column("person_id", Text, ForeignKey("people.person_id"), nullable=False),
    Column("linked_by", Text, nullable=False),
    Column("linked_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_by", Text, nullable=False, server_default=""),
    Column("ended_by", Text, nullable=False, server_default=""),
    Column("ended_at", DateTime(timezone=True)),
    UniqueConstraint("issuer", "subject", name="identities_token"),
    UniqueConstraint("issuer", "subject_folded", name="identities_subject"),
    Index("identities_by_person", "person_id"),
)
_standing = identities.c.ended_at.is_(None)


def add_identity(tx: Connection, identity: Identity) -> bool:
    """A way for a person to sign in. False where it is or was somebody's."""
    return (
        tx.execute(
            insert(identities)
            .values(
                identity_id=identity.identity_id,
                issuer=identity.issuer,
                subject=identity.subject,
                subject_folded=identity.subject.casefold(),
                person_id=identity.person_id,
                linked_by=identity.linked_by,
                linked_at=identity.linked_at,
                confirmed_by=identity.confirmed_by,
            )
            .on_conflict_do_nothing()
            .returning(identities.c.identity_id)
        ).one_or_none()
        is not None
    )


def propose_again(tx: Connection, identity: Identity) -> Identity | None:
    """An identity of this person that was ended, as one that is only proposed; None where there is none. It keeps its id; who proposed and
    confirmed it before is in the audit log. Lock its person first."""
    row = tx.execute(
        update(identities)
        .where(
            identities.c.person_id == identity.person_id,
            identities.c.issuer == identity.issuer,
            identities.c.subject == identity.subject,
            ~_standing,
        )
        .values(
            linked_by=identity.linked_by,
            linked_at=identity.linked_at,
            confirmed_by="",
            ended_by="",
            ended_at=None,
        )
        .returning(identities)
    ).one_or_none()
    return None if row is None else _identity(row)


def _identity(row: Any) -> Identity:
    return Identity(
        row.identity_id,
        row.person_id,
        row.issuer,
        row.subject,
        row.linked_by,
        row.linked_at,
        row.confirmed_by,
    )


def person_id_of(tx: Connection, issuer: str, subject: str) -> str | None:
    """Whose confirmed identity this is."""
    # By the driver itself: this is in every read of every person.
    row = (
        driver_of(tx)
        .execute(
            "SELECT person_id FROM identities WHERE issuer = %s AND subject = %s AND confirmed_by <> '' AND ended_at IS NULL",
            (issuer, subject),
        )
        .fetchone()
    )
    return None if row is None else row[0]


def identity(tx: Connection, identity_id: str) -> Identity | None:
    """An identity that was not ended. Lock its person first."""
    row = tx.execute(
        select(identities).where(identities.c.identity_id == identity_id, _standing)
    ).one_or_none()
    return None if row is None else _identity(row)


def identities_of(tx: Connection, person_id: str) -> list[Identity]:
    """Identities of a person in order of linking; ended ones are left out."""
    rows = tx.execute(
        select(identities)
        .where(identities.c.person_id == person_id, _standing)
        .order_by(identities.c.linked_at, identities.c.identity_id)
    )
    return [_identity(row) for row in rows]


def confirm_identity(tx: Connection, identity_id: str, by: str) -> None:
    """The identity signs in from now on."""
    tx.execute(update(identities).where(identities.c.identity_id == identity_id).values(confirmed_by=by))


def end_identity(tx: Connection, identity_id: str, by: str, at: datetime) -> None:
    """The identity signs in no more."""
    tx.execute(
        update(identities).where(identities.c.identity_id == identity_id).values(ended_by=by, ended_at=at)
    )

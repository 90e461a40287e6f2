"""Table and queries of affiliations: who of the workforce has to do with which customer."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, DateTime, ForeignKey, Index, Table, Text, delete, select
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata

affiliations = Table(
    "affiliations",
    metadata,
    Column("person_id", Text, ForeignKey("people.person_id"), primary_key=True),
    Column("organization_id", Text, primary_key=True),
    Column("declared_by", Text, nullable=False),
    Column("declared_at", DateTime(timezone=True), nullable=False),
    Index("affiliations_by_organization", "organization_id"),
)


@dataclass(frozen=True)
class Affiliation:
    """One that is in force."""

    person_id: str
    organization_id: str
    declared_by: str
    declared_at: datetime


def of_person(tx: Connection, person_id: str) -> list[Affiliation]:
    """A person's, by organization."""
    rows = tx.execute(
        select(affiliations)
        .where(affiliations.c.person_id == person_id)
        .order_by(affiliations.c.organization_id)
    )
    return [Affiliation(**row._mapping) for row in rows]


def add(tx: Connection, one: Affiliation) -> bool:
    """Adds one. False where it is there."""
    added = tx.execute(
        insert(affiliations).values(**vars(one)).on_conflict_do_nothing().returning(affiliations.c.person_id)
    )
    return added.one_or_none() is not None


def end(tx: Connection, person_id: str, organization_id: str) -> bool:
    """Ends one. False where there was none."""
    ended = tx.execute(
        delete(affiliations).where(
            affiliations.c.person_id == person_id, affiliations.c.organization_id == organization_id
        )
    )
    return bool(ended.rowcount)


def forget_organization(tx: Connection, organization_id: str) -> None:
    """An erased organization has nobody's affiliation any more."""
    tx.execute(delete(affiliations).where(affiliations.c.organization_id == organization_id))

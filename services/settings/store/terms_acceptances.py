"""What customers accepted of their own duties: rows are added, never changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from services.settings.store.tables import terms_acceptances


@dataclass(frozen=True)
class Acceptance:
    """One duty, accepted in a version. accepted_by: "member_…"."""

    organization_id: str
    version: str
    duty: str
    accepted_by: str
    accepted_at: datetime


def add(tx: Connection, acceptances: Iterable[Acceptance]) -> None:
    """Adds them; the organization's row is locked, and none is there."""
    tx.execute(
        insert(terms_acceptances).values(
            [
                {
                    "organization_id": one.organization_id,
                    "version": one.version,
                    "duty": one.duty,
                    "accepted_by": one.accepted_by,
                    "accepted_at": one.accepted_at,
                }
                for one in acceptances
            ]
        )
    )


def list_of(tx: Connection, organization_id: str) -> list[Acceptance]:
    """An organization's, oldest first."""
    table = terms_acceptances
    rows = tx.execute(
        select(table)
        .where(table.c.organization_id == organization_id)
        .order_by(table.c.accepted_at, table.c.version, table.c.duty)
    )
    return [Acceptance(**row._mapping) for row in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's; how many."""
    return tx.execute(
        delete(terms_acceptances).where(terms_acceptances.c.organization_id == organization_id)
    ).rowcount

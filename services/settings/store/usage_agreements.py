"""The history of what is agreed on usage counts: rows are added, never changed."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from services.settings.store.tables import usage_agreements


@dataclass(frozen=True)
class UsageAgreement:
    """What was agreed from an instant on. number: the organization's revision from then on. entered_by: "person_…"."""

    organization_id: str
    number: int
    usage_agreed: bool
    entered_at: datetime
    effective_at: datetime
    entered_by: str


def add(tx: Connection, agreement: UsageAgreement) -> None:
    """Adds an entry; the organization's row is locked, or new."""
    tx.execute(
        insert(usage_agreements).values(
            organization_id=agreement.organization_id,
            number=agreement.number,
            usage_agreed=agreement.usage_agreed,
            entered_at=agreement.entered_at,
            effective_at=agreement.effective_at,
            entered_by=agreement.entered_by,
        )
    )


def newest(tx: Connection, organization_id: str) -> UsageAgreement | None:
    """What applies now; None where nothing was ever entered."""
    table = usage_agreements
    row = tx.execute(
        select(table)
        .where(table.c.organization_id == organization_id)
        .order_by(table.c.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else UsageAgreement(**row._mapping)


def was_ever_agreed(tx: Connection, organization_id: str) -> bool:
    """Whether usage counts might be sent at some time."""
    table = usage_agreements
    row = tx.execute(
        select(table.c.number)
        .where(table.c.organization_id == organization_id, table.c.usage_agreed)
        .limit(1)
    ).one_or_none()
    return row is not None


def history(tx: Connection, organization_id: str, after: int, limit: int) -> list[UsageAgreement]:
    """Oldest first, after the first `after` entries."""
    table = usage_agreements
    rows = tx.execute(
        select(table)
        .where(table.c.organization_id == organization_id, table.c.number >= after)
        .order_by(table.c.number)
        .limit(limit)
    )
    return [UsageAgreement(**row._mapping) for row in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes the history of an erased organization; how many entries it was."""
    return tx.execute(
        delete(usage_agreements).where(usage_agreements.c.organization_id == organization_id)
    ).rowcount

"""The history of what is agreed with an organization: rows are added, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from kept.settings.v1 import organizations_pb2
from services.settings.store.tables import organization_changes


@dataclass(frozen=True)
class OrganizationChange:
    """What was agreed from an instant on. number: the organization's revision from then on. entered_by: "person_…"."""

    organization_id: str
    number: int
    tier: "organizations_pb2.Tier.ValueType"
    deployment: "organizations_pb2.Deployment.ValueType"
    training_retention_days: int
    contract_references: Sequence[str]
    usage_agreed: bool
    entered_at: datetime
    effective_at: datetime
    entered_by: str


def add(tx: Connection, change: OrganizationChange) -> None:
    """Adds an entry; the organization's row is locked, or new."""
    tx.execute(
        insert(organization_changes).values(
            organization_id=change.organization_id,
            number=change.number,
            tier=change.tier,
            deployment=change.deployment,
            training_retention_days=change.training_retention_days,
            contract_references=list(change.contract_references),
            usage_agreed=change.usage_agreed,
            entered_at=change.entered_at,
            effective_at=change.effective_at,
            entered_by=change.entered_by,
        )
    )


def newest(tx: Connection, organization_id: str) -> OrganizationChange | None:
    """What applies now; None where it was entered before there was a history."""
    table = organization_changes
    row = tx.execute(
        select(table)
        .where(table.c.organization_id == organization_id)
        .order_by(table.c.number.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else OrganizationChange(**row._mapping)


def history(tx: Connection, organization_id: str, after: int, limit: int) -> list[OrganizationChange]:
    """Oldest first, from the entry of number `after` on."""
    table = organization_changes
    rows = tx.execute(
        select(table)
        .where(table.c.organization_id == organization_id, table.c.number >= after)
        .order_by(table.c.number)
        .limit(limit)
    )
    return [OrganizationChange(**row._mapping) for row in rows]


def erase(tx: Connection, organization_id: str) -> int:
    """Removes the history of an erased organization; how many entries it was."""
    return tx.execute(
        delete(organization_changes).where(organization_changes.c.organization_id == organization_id)
    ).rowcount

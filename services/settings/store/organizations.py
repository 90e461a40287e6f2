"""Organizations, one row each; the row is the lock under which everything about an organization is decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects.postgresql import insert

from kept.settings.v1 import organizations_pb2
from services.settings.store.tables import organizations


@dataclass(frozen=True)
class Organization:
    """One organization. known_from, closed_from: when creation and closing count everywhere. removed: the receipt of its erasure.
    usage_agreed: see services.settings.organizations.usage_agreements. revision: how often what is agreed, or a contact, was changed.
    content_erased_before: content logged before this instant is to be erased."""

    organization_id: str
    number: int
    request_id: str
    content_sha256: bytes | None
    display_name: str
    tier: "organizations_pb2.Tier.ValueType"
    deployment: "organizations_pb2.Deployment.ValueType"
    sales_representative: str
    state: "organizations_pb2.OrganizationState.ValueType"
    zero_data_retention: bool
    created_at: datetime
    known_from: datetime | None
    closed_from: datetime | None
    erasure_id: str | None
    erased_at: datetime | None
    removed: Mapping[str, int] | None
    usage_agreed: bool
    revision: int
    training_retention_days: int
    contract_references: Sequence[str]
    privacy_contact: str
    support_contact: str
    content_erased_before: datetime | None = None


@dataclass(frozen=True)
class NewOrganization:
    """What creates one."""

    organization_id: str
    request_id: str
    content_sha256: bytes
    display_name: str
    tier: "organizations_pb2.Tier.ValueType"
    deployment: "organizations_pb2.Deployment.ValueType"
    sales_representative: str
    usage_agreed: bool
    created_at: datetime


def _made(row: Row[Any]) -> Organization:
    return Organization(**row._mapping)


def add(tx: Connection, new: NewOrganization) -> Organization | None:
    """The new organization, or None when its request id is taken; waits for another transaction that is taking it."""
    row = tx.execute(
        insert(organizations)
        .values(
            organization_id=new.organization_id,
            request_id=new.request_id,
            content_sha256=new.content_sha256,
            display_name=new.display_name,
            tier=new.tier,
            deployment=new.deployment,
            sales_representative=new.sales_representative,
            state=organizations_pb2.ORGANIZATION_STATE_ACTIVE,
            zero_data_retention=False,
            usage_agreed=new.usage_agreed,
            created_at=new.created_at,
        )
        .on_conflict_do_nothing(index_elements=["request_id"])
        .returning(organizations)
    ).one_or_none()
    return None if row is None else _made(row)


def find(tx: Connection, organization_id: str) -> Organization | None:
    """As it is now, unlocked."""
    row = tx.execute(
        select(organizations).where(organizations.c.organization_id == organization_id)
    ).one_or_none()
    return None if row is None else _made(row)


def find_by_request(tx: Connection, request_id: str) -> Organization | None:
    """The organization that a request created."""
    row = tx.execute(select(organizations).where(organizations.c.request_id == request_id)).one_or_none()
    return None if row is None else _made(row)


def lock(tx: Connection, organization_id: str, *, shared: bool = False) -> Organization | None:
    """As it is now, and nobody changes it before this transaction ends. `shared`: several may hold it so at once."""
    row = tx.execute(
        select(organizations)
        .where(organizations.c.organization_id == organization_id)
        .with_for_update(read=shared, key_share=not shared)
    ).one_or_none()
    return None if row is None else _made(row)


def known(tx: Connection, organization_ids: Sequence[str]) -> frozenset[str]:
    """Those of the ids that name an organization that is not erased."""
    rows = tx.execute(
        select(organizations.c.organization_id).where(
            organizations.c.organization_id.in_(organization_ids),
            organizations.c.state != organizations_pb2.ORGANIZATION_STATE_ERASED,
        )
    )
    return frozenset(rows.scalars())


def list_after(tx: Connection, number: int, limit: int) -> list[Organization]:
    """At most `limit`, in order of creation, after the one with that number."""
    rows = tx.execute(
        select(organizations)
        .where(organizations.c.number > number)
        .order_by(organizations.c.number)
        .limit(limit)
    )
    return [_made(row) for row in rows]


def set_known_from(tx: Connection, organization_id: str, instant: datetime) -> None:
    """When its creation counts everywhere."""
    _update(tx, organization_id, known_from=instant)


def set_zero_data_retention(tx: Connection, organization_id: str, is_on: bool) -> None:
    """Zero data retention is approved, or has ended."""
    _update(tx, organization_id, zero_data_retention=is_on)


def set_content_erased_before(tx: Connection, organization_id: str, instant: datetime) -> None:
    """Content logged before that instant is to be erased, for good."""
    _update(tx, organization_id, content_erased_before=instant)


def set_agreed(tx: Connection, changed: Organization) -> None:
    """What is agreed from now on, and whom to write to."""
    _update(
        tx,
        changed.organization_id,
        tier=changed.tier,
        deployment=changed.deployment,
        usage_agreed=changed.usage_agreed,
        training_retention_days=changed.training_retention_days,
        contract_references=list(changed.contract_references),
        privacy_contact=changed.privacy_contact,
        support_contact=changed.support_contact,
        revision=changed.revision,
    )


def close(tx: Connection, organization_id: str, erasure_id: str, closed_from: datetime) -> None:
    """Closed, for this erasure, everywhere from that instant on."""
    _update(
        tx,
        organization_id,
        state=organizations_pb2.ORGANIZATION_STATE_CLOSED,
        erasure_id=erasure_id,
        closed_from=closed_from,
    )


def erase(tx: Connection, organization_id: str, erased_at: datetime, removed: Mapping[str, int]) -> None:
    """Blanks all but id, state, instants and the receipt."""
    _update(
        tx,
        organization_id,
        state=organizations_pb2.ORGANIZATION_STATE_ERASED,
        content_sha256=None,
        display_name="",
        tier=organizations_pb2.TIER_UNSPECIFIED,
        deployment=organizations_pb2.DEPLOYMENT_UNSPECIFIED,
        sales_representative="",
        zero_data_retention=False,
        usage_agreed=False,
        training_retention_days=0,
        contract_references=[],
        privacy_contact="",
        support_contact="",
        erased_at=erased_at,
        removed=dict(removed),
    )


def _update(tx: Connection, organization_id: str, **values: object) -> None:
    tx.execute(update(organizations).where(organizations.c.organization_id == organization_id).values(values))

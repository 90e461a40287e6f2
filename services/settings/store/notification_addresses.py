"""Whom the vendor writes to, by what about. What is taken out is gone: there is no history of addresses."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from kept.settings.v1 import data_controls_pb2 as contract
from services.settings.store.members import email_key
from services.settings.store.tables import notification_addresses as addresses


@dataclass(frozen=True, order=True)
class NotificationAddress:
    """One address, for one topic."""

    topic: "contract.NotificationTopic.ValueType"
    email: str


def list_of(tx: Connection, organization_id: str) -> list[NotificationAddress]:
    """By topic and address."""
    rows = tx.execute(
        select(addresses.c.topic, addresses.c.email)
        .where(addresses.c.organization_id == organization_id)
        .order_by(addresses.c.topic, addresses.c.email_key)
    )
    return [NotificationAddress(row.topic, row.email) for row in rows]


def replace_all(tx: Connection, organization_id: str, wanted: Sequence[NotificationAddress]) -> None:
    """These and no others; the organization's row is locked."""
    tx.execute(delete(addresses).where(addresses.c.organization_id == organization_id))
    for address in wanted:
        tx.execute(
            insert(addresses)
            .values(
                organization_id=organization_id,
                topic=address.topic,
                email_key=email_key(address.email),
                email=address.email,
            )
            .on_conflict_do_nothing()
        )


def erase(tx: Connection, organization_id: str) -> int:
    """Removes an organization's; how many."""
    return tx.execute(delete(addresses).where(addresses.c.organization_id == organization_id)).rowcount

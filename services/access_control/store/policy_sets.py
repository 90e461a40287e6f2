"""Tables and queries of policy sets: the text of each that was ever decided by, so that the hash in an audit entry leads to what it
stands for."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, DateTime, Index, Table, Text, desc, select, text
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata

# `used_from`: since when it has been the one in use, the last time. The newest is in use.
policy_sets = Table(
    "policy_sets",
    metadata,
    Column("policy_set", Text, primary_key=True),
    Column("policies", Text, nullable=False),
    Column("used_from", DateTime(timezone=True), nullable=False),
    Index("policy_sets_by_use", "used_from"),
)


@dataclass(frozen=True)
class UsedSet:
    """A set. policy_set: its SHA-256 in hex."""

    policy_set: str
    policies: str


def in_use(tx: Connection) -> UsedSet | None:
    """The set in use; None before the first. Nobody else changes it until the transaction ends."""
    tx.execute(text("LOCK TABLE policy_sets IN SHARE ROW EXCLUSIVE MODE"))
    row = tx.execute(
        select(policy_sets.c.policy_set, policy_sets.c.policies)
        .order_by(desc(policy_sets.c.used_from))
        .limit(1)
    ).first()
    return UsedSet(row.policy_set, row.policies) if row is not None else None


def use(tx: Connection, used: UsedSet, now: datetime) -> None:
    """Makes it the one in use."""
    tx.execute(
        insert(policy_sets)
        .values(policy_set=used.policy_set, policies=used.policies, used_from=now)
        .on_conflict_do_update(index_elements=[policy_sets.c.policy_set], set_={"used_from": now})
    )

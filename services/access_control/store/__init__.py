"""Tables and queries of access control: the only package of this service that knows SQL."""

from sqlalchemy import Connection, MetaData

from shared.outbox import outbox_table

metadata = MetaData()
outbox = outbox_table(metadata)

# After `metadata`, which they add their tables to.
from services.access_control.store import (  # noqa: E402
    audit,
    cases,
    custody,
    directory,
    grants,
    identities,
    opened_records,
    policy_sets,
    reviews,
    standing,
    withheld,
)

__all__ = [
    "Connection",
    "audit",
    "cases",
    "custody",
    "directory",
    "grants",
    "identities",
    "metadata",
    "opened_records",
    "outbox",
    "policy_sets",
    "reviews",
    "standing",
    "withheld",
]

"""Tables and queries of access control: the only package of this service that knows SQL."""

from sqlalchemy import Connection, MetaData

from shared.outbox import outbox_table

metadata = MetaData()
outbox = outbox_table(metadata)

# After `metadata`, which they add their tables to.
from services.access_control.store import (  # noqa: E402
    affiliations,
    audit,
    cases,
    custody,
    directory,
    evaluation_keys,
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
    "affiliations",
    "audit",
    "cases",
    "custody",
    "directory",
    "evaluation_keys",
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

"""The tables of settings and the queries over them; nothing else in this service knows SQL.

Every function takes an open transaction (`Tx`). Rows come out as frozen dataclasses; enums are the numbers of the contract's enums.
Locks are always taken in this order: the organization's row, rows below it, a gateway's name, the change feed. Publishing sub-processors,
counting what the public asks, and deciding on it hold none of these but the organization's row, which comes first there too.
"""

from sqlalchemy import Connection

from services.settings.store import trust_tables
from services.settings.store.tables import audit_position, metadata, outbox, policy_changes

Tx = Connection

__all__ = ["Tx", "audit_position", "metadata", "outbox", "policy_changes", "trust_tables"]

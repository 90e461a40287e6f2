"""The tables of safety review and the queries over them; nothing else in this service knows SQL.

Every function takes an open transaction (`Tx`). Locks are always taken in this order: organizations' fences, verdicts in the order of
their keys, cases in the order of organization and category.
"""

from sqlalchemy import Connection

from services.safety_review.store.tables import audit_position, metadata, outbox

Tx = Connection

__all__ = ["Tx", "audit_position", "metadata", "outbox"]

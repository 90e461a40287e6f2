"""Logging's database: tables, and queries by what they are about. Functions take an open transaction."""

from sqlalchemy import Connection

from services.logging.store.tables import audit_position, metadata, outbox

Tx = Connection

__all__ = ["Tx", "audit_position", "metadata", "outbox"]

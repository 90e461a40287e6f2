"""Logging's database: tables, and queries by what they are about. Functions take an open transaction."""

from services.logging.store.tables import metadata, outbox

__all__ = ["metadata", "outbox"]

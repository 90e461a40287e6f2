"""Tables and queries of access control: the only package of this service that knows SQL."""

from sqlalchemy import Connection, MetaData

metadata = MetaData()

# After `metadata`, which they add their tables to.
from services.access_control.store import audit, cases, custody, directory, grants  # noqa: E402

__all__ = ["Connection", "audit", "cases", "custody", "directory", "grants", "metadata"]

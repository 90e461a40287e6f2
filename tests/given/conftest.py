"""A logging service on a database of Citus, as its own tests have it."""

from __future__ import annotations

from tests.unit.logging.conftest import database, make_database, migrated, world

__all__ = ["database", "make_database", "migrated", "world"]

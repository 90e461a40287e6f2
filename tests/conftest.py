"""Fixtures that every test may use; each lives in the module of tests/support that is named for it."""

from __future__ import annotations

from tests.support.postgres import fresh_database, postgres_server
from tests.support.staged import plot

__all__ = ["fresh_database", "plot", "postgres_server"]

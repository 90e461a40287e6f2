"""Fixtures that every test may use; each lives in the module of tests/support that is named for it."""

from __future__ import annotations

from hypothesis import settings

from tests.support.postgres import fresh_database, postgres_server
from tests.support.staged import plot

__all__ = ["fresh_database", "plot", "postgres_server"]

# The same tree passes or fails the same way on every machine. `make fuzz` looks for new examples; one that it finds is
# mended, and goes into a table of cases.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("fuzz", max_examples=5000, deadline=None)
settings.load_profile("repeatable")

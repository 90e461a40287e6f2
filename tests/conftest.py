"""Fixtures that every test may use; each lives in the module of tests/support that is named for it."""

from __future__ import annotations

import gc
import shutil
import tempfile

import pytest
from hypothesis import settings

from tests.support.postgres import fresh_database, postgres_server
from tests.support.staged import plot
from tests.support.statements import compile_once

__all__ = ["fresh_database", "plot", "postgres_server"]

# The same tree passes or fails the same way on every machine. `make fuzz` looks for new examples; one that it finds is
# mended, and goes into a table of cases.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("fuzz", max_examples=5000, deadline=None)
settings.load_profile("repeatable")
compile_once()

# New objects, as services have it at least (shared/server.py).
_COLLECTED_AFTER = 10_000


def pytest_configure(config: pytest.Config) -> None:
    """Gives each run a folder of its own. pytest's own is shared by all runs of a user, and each that starts closes it to everybody else:
    PostgreSQL, which is another user where we are root, would lose its data in the middle of the other run."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="kept-tests-")
        config.option.basetemp = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """What is here now stays: to look through all modules and tests for what nobody holds, again and again, takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)

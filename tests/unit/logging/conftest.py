"""A migrated database, and a logging service on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.database import Database, migrate
from tests.support.postgres import FreshDatabase, TestServer, database_name
from tests.unit.logging.world import World

MIGRATIONS = Path(__file__).parents[3] / "services" / "logging" / "migrations"


@pytest.fixture(scope="session")
def migrated(postgres_server: TestServer) -> str:
    """The name of a migrated database, as a template."""
    url = postgres_server.fresh_database("logging_template")
    database = Database(url, pool=2)
    migrate(database, MIGRATIONS)
    database.close()
    return database_name(url)


@pytest.fixture
def database(fresh_database: FreshDatabase, migrated: str) -> Iterator[Database]:
    """A migrated database."""
    made = Database(fresh_database("logging", template=migrated), pool=8)
    yield made
    made.close()


@pytest.fixture
def world(database: Database) -> World:
    """A logging service that has its leases."""
    return World(database)

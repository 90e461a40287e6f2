"""A migrated database, and a logging service on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.logging.store import distribution
from shared.database import Database, migrate
from tests.support.given import is_citus
from tests.support.postgres import FreshDatabase, TestServer, database_name
from tests.unit.logging.world import World

MIGRATIONS = Path(__file__).parents[3] / "services" / "logging" / "migrations"


@pytest.fixture(scope="session")
def migrated(postgres_server: TestServer) -> str | None:
    """The name of a migrated database, as a template; None where there are none."""
    if not postgres_server.has_templates:
        return None
    url = postgres_server.fresh_database("logging_template")
    database = Database(url, pool=2)
    migrate(database, MIGRATIONS)
    database.close()
    return database_name(url)


@pytest.fixture
def make_database(fresh_database: FreshDatabase, migrated: str | None) -> Iterator[Callable[[], Database]]:
    """Makes migrated databases, distributed where they are Citus'."""
    made: list[Database] = []

    def make() -> Database:
        database = Database(fresh_database("logging", template=migrated), pool=8)
        made.append(database)
        if migrated is None:
            migrate(database, MIGRATIONS)
        if is_citus():
            with database.transaction() as tx:
                distribution.distribute(tx)
        return database

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(make_database: Callable[[], Database]) -> Database:
    """A migrated database."""
    return make_database()


@pytest.fixture
def world(database: Database) -> World:
    """A logging service that has its leases."""
    return World(database)

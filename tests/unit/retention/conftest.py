"""A migrated database for each test, copied from one that was migrated once, and the service on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import services.retention
from shared.database import Database, migrate
from tests.support.postgres import FreshDatabase, TestServer, database_name
from tests.unit.retention.world import World

MIGRATIONS = Path(services.retention.__file__).with_name("migrations")


@pytest.fixture(scope="session")
def migrated(postgres_server: TestServer) -> str:
    url = postgres_server.fresh_database("retention_template")
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.close()
    return database_name(url)


@pytest.fixture
def world(fresh_database: FreshDatabase, migrated: str, tmp_path: Path) -> Iterator[World]:
    made = World(fresh_database("retention", template=migrated), tmp_path)
    made.settle(4)
    yield made
    made.database.close()

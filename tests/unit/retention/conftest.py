"""A migrated database for each test, copied from one that was migrated once, and the service on it."""

from collections.abc import Callable, Iterator
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
def make_world(fresh_database: FreshDatabase, migrated: str, tmp_path: Path) -> Iterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        made.append(World(fresh_database("retention", template=migrated), tmp_path))
        made[-1].settle(2)
        return made[-1]

    yield make
    for world in made:
        world.database.close()


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()

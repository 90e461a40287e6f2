"""A migrated database for each test, copied from one that was migrated once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import services.safety_review
from shared.database import Database, migrate
from tests.support.postgres import FreshDatabase, TestServer, database_name
from tests.unit.safety_review.world import World

MIGRATIONS = Path(services.safety_review.__file__).with_name("migrations")


@pytest.fixture(scope="session")
def migrated(postgres_server: TestServer) -> str:
    url = postgres_server.fresh_database("safety_review_template")
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.close()
    return database_name(url)


@pytest.fixture
def url(fresh_database: FreshDatabase, migrated: str) -> str:
    return fresh_database("safety_review", template=migrated)


@pytest.fixture
def world(url: str) -> Iterator[World]:
    made = World(url)
    yield made
    made.close()

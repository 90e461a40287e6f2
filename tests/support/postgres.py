"""A throwaway PostgreSQL for tests: one real server a test process, as many databases as tests want.

    def test_something(fresh_database: FreshDatabase) -> None:
        engine = create_engine(fresh_database("settings"))

The server starts when the first test asks (about a second) and ends with the session; under pytest-xdist each
worker has its own. It gives up durability and nothing else: roles, passwords and settings are the local
stack's.

KEPT_TEST_DATABASE gives tests a database of another server instead (tests/support/given.py).
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql
from sqlalchemy import make_url

from deploy.local import ports, throwaway
from deploy.local.errors import PortInUse
from deploy.local.postgres import Postgres
from tests.support.given import GivenDatabase, given_url

FreshDatabase = Callable[..., str]

_PREFIX = "kept-test-postgres-"
# What is thrown away anyway need not go to a disk: half of a test's time went into copying its database.
_MEMORY = Path("/dev/shm")
_ENOUGH = 2 * 1024**3


class TestServer:
    """The session's server; `fresh_database` gives each caller a database that nobody else uses."""

    __test__ = False

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self._numbers = itertools.count(1)
        self._urls: dict[str, str] = {}

    def fresh_database(self, name: str = "test", *, template: str | None = None) -> str:
        """A new database with a role of its own (both called `name` and a number); returns its URL. About
        0.1 s.

        `template` copies another database of this server instead (its name, as `database_name(url)` says
        it), for instance one that is already migrated. The copy belongs to the role of the original, and
        nobody may be connected to the original meanwhile.
        """
        unique = f"{re.sub('[^a-z0-9_]', '_', name.lower())[:40]}_{next(self._numbers)}"
        if template is None:
            self._urls[unique] = self.postgres.ensure_database(unique, secrets.token_urlsafe(16))
        else:
            original = self._urls[template]
            statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(unique),
                sql.Identifier(make_url(original).username or ""),
                sql.Identifier(template),
            )
            with self.postgres.administration() as connection:
                connection.execute(statement)
            self._urls[unique] = original.rpartition("/")[0] + "/" + unique
        return self._urls[unique]

    def drop(self, url: str) -> None:
        """Remove a database that `fresh_database` made, whoever is still connected to it."""
        self.postgres.drop_database(database_name(url))

    @property
    def has_templates(self) -> bool:
        """Whether databases can be copied."""
        return True


class GivenServer(TestServer):
    """The server of a database that is given: what looks like a database of a test's own is a schema in it."""

    def __init__(self, url: str) -> None:
        self._given = GivenDatabase(url)

    def fresh_database(self, name: str = "test", *, template: str | None = None) -> str:
        """A new schema; the URL of the database with it. There are no templates: each is migrated by itself."""
        assert template is None, "a schema cannot be copied"
        return self._given.fresh(name)

    def drop(self, url: str) -> None:
        """Removes a schema."""
        self._given.drop(url)

    @property
    def has_templates(self) -> bool:
        return False


def database_name(url: str) -> str:
    """The name of the database (and of its role) in a URL that `fresh_database` gave."""
    return url.rpartition("/")[2]


@contextmanager
def running_server() -> Iterator[TestServer]:
    """A throwaway server as long as the block runs."""
    _sweep()
    home = throwaway.make(_PREFIX, place())
    try:
        postgres = _started(home)
        try:
            yield TestServer(postgres)
        finally:
            postgres.stop(at_once=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestServer]:
    """The PostgreSQL server of this test process; for fixtures of a wider scope than one test."""
    given = given_url()
    if given is not None:
        yield GivenServer(given)
        return
    with running_server() as server:
        yield server


@pytest.fixture
def fresh_database(postgres_server: TestServer) -> Iterator[FreshDatabase]:
    """`fresh_database(name) -> url`; the databases are dropped after the test."""
    made: list[str] = []

    def fresh(name: str = "test", *, template: str | None = None) -> str:
        url = postgres_server.fresh_database(name, template=template)
        made.append(url)
        return url

    yield fresh
    for url in reversed(made):  # copies before the database whose role they belong to
        postgres_server.drop(url)


def place() -> Path | None:
    """Where the server's files go: into memory, if there is room for them; None for the system's place."""
    is_there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH
    return _MEMORY if is_there else None


def _started(home: Path) -> Postgres:
    for attempt in range(5):
        [port] = ports.free_ports(1)
        password, log = secrets.token_urlsafe(16), home / "postgres.log"
        postgres = Postgres(home / "data", port=port, password=password, log=log, durable=False)
        try:
            postgres.start()
            return postgres
        except PortInUse:  # another server took it between the look and the start
            shutil.rmtree(home / "data", ignore_errors=True)
            if attempt == 4:
                raise
    raise AssertionError("unreachable")


def _sweep() -> None:
    """End and remove the servers of test sessions that were killed before they could do so themselves."""
    for home in (*throwaway.abandoned(_PREFIX), *throwaway.abandoned(_PREFIX, _MEMORY)):
        Postgres(home / "data", port=0, password="", log=home / "postgres.log").stop()
        shutil.rmtree(home, ignore_errors=True)

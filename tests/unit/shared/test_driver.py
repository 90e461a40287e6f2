"""Statements that go out together fail as they would alone, and leave a connection that is good for the next."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from shared.database import Database
from shared.driver import execute, rows, together
from shared.errors import KeptError
from tests.support.postgres import FreshDatabase


@pytest.fixture
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    made = Database(fresh_database("driver"), pool=2)
    with made.transaction() as tx:
        tx.exec_driver_sql("CREATE TABLE numbers (number int PRIMARY KEY)")
    yield made
    made.close()


def _add(database: Database, *numbers: int) -> None:
    with database.transaction() as tx:
        with together(tx):
            for number in numbers:
                execute(tx, "INSERT INTO numbers VALUES (%b)", (number,))
        assert rows(tx, "SELECT count(*) FROM numbers WHERE number = ANY(%b)", (list(numbers),)) == [
            (len(numbers),)
        ]


def test_all_of_them_are_done_when_the_block_ends(database: Database) -> None:
    _add(database, 1, 2, 3)
    with database.transaction() as tx:
        assert rows(tx, "SELECT number FROM numbers ORDER BY 1", ()) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("numbers", [(1, 2, 3), (2, 1, 3), (2, 3, 1)])
def test_the_first_that_fails_is_what_is_raised_and_nothing_stays(
    database: Database, numbers: tuple[int, ...]
) -> None:
    _add(database, 1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        _add(database, *numbers)
    _add(database, 4, 5)
    with database.transaction() as tx:
        assert rows(tx, "SELECT number FROM numbers ORDER BY 1", ()) == [(1,), (4,), (5,)]


def test_a_lock_that_is_not_given_is_a_database_that_is_not_there(database: Database) -> None:
    with database.transaction() as held:
        held.exec_driver_sql("LOCK TABLE numbers")
        with pytest.raises(KeptError) as refused, database.transaction() as tx:
            execute(tx, "SET LOCAL lock_timeout = '20ms'", ())
            with together(tx):
                execute(tx, "INSERT INTO numbers VALUES (1)", ())
                execute(tx, "INSERT INTO numbers VALUES (2)", ())
    assert refused.value.name == "DATABASE_UNAVAILABLE"
    _add(database, 1, 2)

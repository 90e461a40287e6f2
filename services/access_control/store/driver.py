"""libpq under a transaction's connection, for what is in the way of every read: there the driver costs more than the statement."""

import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Connection

from shared.driver import driver_of


@contextmanager
def working(
    tx: Connection, statement: LiteralString, values: Sequence[tuple[bytes, bool]]
) -> Iterator[Callable[[], PGresult]]:
    """The server works on a statement while the block goes on, which must not use the transaction: a transaction that has begun. values: of
    $1, $2, …, and whether in binary form. What the block is given waits for the result; raises psycopg.Error."""
    libpq = driver_of(tx).pgconn
    libpq.send_query_params(
        statement.encode(),
        [value for value, _ in values],
        param_formats=[int(binary) for _, binary in values],
    )
    while libpq.flush():
        _wait(libpq, select.POLLIN | select.POLLOUT)
        libpq.consume_input()
    results: list[PGresult] = []

    def result() -> PGresult:
        if not results:
            results.extend(_results(libpq))
        return checked(libpq, results[-1])

    try:
        yield result
    finally:
        if not results:  # nothing else can be said on the connection before
            _results(libpq)


def _results(libpq: PGconn) -> list[PGresult]:
    results: list[PGresult] = []
    while True:
        while libpq.is_busy():
            _wait(libpq, select.POLLIN)
            libpq.consume_input()
        if (result := libpq.get_result()) is None:
            return results
        results.append(result)


def _wait(libpq: PGconn, events: int) -> None:
    """By poll: select takes no descriptor from 1,024 on, and each connection of a caller has one."""
    poll = select.poll()
    poll.register(libpq.socket, events)
    poll.poll()


def checked(libpq: PGconn, result: PGresult) -> PGresult:
    """The result of a statement that succeeded. Raises psycopg.Error."""
    if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        return result
    state = result.error_field(DiagnosticField.SQLSTATE)
    if state is None or libpq.status != ConnStatus.OK:  # the server is gone, and said nothing
        raise psycopg.OperationalError("the connection to the database was lost")
    raise psycopg.errors.lookup(state.decode())(f"statement failed ({state.decode()})")

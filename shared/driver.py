"""The driver's own connection under a transaction, for what is in the way of every call or touches very many rows: there SQLAlchemy costs
more than the statement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format
from psycopg.sql import Composed
from sqlalchemy import Connection

_UUID_OID: Final = psycopg.adapters.types["uuid"].oid


class Uuid(bytes):
    """A uuid as the 16 bytes that it is in PostgreSQL's binary form. Record ids are 16 bytes here; to make an object of each, and 16 bytes
    of that again, takes longer than to encrypt a record."""


class _UuidDumper(Dumper):
    format = Format.BINARY
    oid = _UUID_OID

    def dump(self, obj: bytes) -> Buffer | None:
        return obj


# Gives bytes as they are, in compiled code. What says in Python how is called for each value, which takes as long as many values do.
_BYTES: Final = psycopg.adapters.get_dumper(bytes, PyFormat.BINARY)


def prepare(connection: "psycopg.Connection[Any]") -> None:
    """Has a new connection know our form of uuids, and, in a COPY, where what is registered last for a type counts, give bytes as they
    are."""
    connection.adapters.register_dumper(Uuid, _UuidDumper)
    connection.adapters.register_dumper(bytes, _BYTES)


def driver_of(tx: Connection) -> "psycopg.Connection[tuple[Any, ...]]":
    """The driver's connection."""
    return cast("psycopg.Connection[tuple[Any, ...]]", tx.connection.driver_connection)


def execute(
    tx: Connection, statement: LiteralString, parameters: Sequence[object] | Mapping[str, object]
) -> None:
    """Runs a statement whose rows nobody wants. What it says `%b` or `%(name)b` for goes in the driver's binary form: of many rows that
    come as arrays, half the cost is else in writing them as text."""
    driver_of(tx).execute(statement, parameters)


def listed(items: Iterable[object]) -> str:
    """An array as PostgreSQL reads it, for `%t`: of what needs no quotes, such as numbers, days and ids. The driver takes many times as
    long to write one item by item."""
    return "{" + ",".join(map(str, items)) + "}"


@contextmanager
def together(tx: Connection) -> Iterator[None]:
    """What the block gives to `execute` goes out at once, and is waited for once, at its end: there the first that failed raises."""
    with driver_of(tx).pipeline():
        yield


def rows(
    tx: Connection, statement: LiteralString, parameters: Sequence[object] | Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """The rows that a statement gives, which come in binary form; see `execute`."""
    return driver_of(tx).execute(statement, parameters, binary=True).fetchall()


def last_value(statement: Connection, commands: Composed) -> Any:
    """The one value that the last of several commands gives. They go out together and take one round trip: a transaction of their own, in
    which each command has a snapshot of its own (a simple query, PostgreSQL 18 §54.2.2.1; READ COMMITTED, §13.2.1). statement: of
    Database.statement."""
    cursor = driver_of(statement).execute(commands)
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    return None if row is None else row[0]


def later(
    tx: Connection, statement: LiteralString, parameters: Sequence[object] | Mapping[str, object]
) -> Callable[[], list[tuple[Any, ...]]]:
    """What gives the rows of a statement of `together`, once that block is over."""
    return driver_of(tx).execute(statement, parameters, binary=True).fetchall


def copy_binary(
    tx: Connection, statement: LiteralString, types: Sequence[str], values: Iterable[Sequence[object]]
) -> None:
    """A binary COPY. values: row by row. types: PostgreSQL's names of the columns' types; of a uuid its 16 bytes, of any type of bytes."""
    with driver_of(tx).cursor() as cursor, cursor.copy(statement) as copy:
        # What is said here says how a value is written; what it is, the column says.
        copy.set_types(["bytea" if one == "uuid" else one for one in types])
        for row in values:
            copy.write_row(row)

"""The driver's own connection under a transaction, for what is in the way of every call or touches very many rows: there SQLAlchemy costs
more than the statement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Connection

_UUID_OID: Final = psycopg.adapters.types["uuid"].oid


class _Sixteen(bytes):
    """What a uuid is in a binary COPY: its 16 bytes."""


class _SixteenDumper(Dumper):
    format = Format.BINARY
    oid = _UUID_OID

    def dump(self, obj: bytes) -> Buffer | None:
        return obj


def driver_of(tx: Connection) -> "psycopg.Connection[tuple[Any, ...]]":
    """The driver's connection."""
    return cast("psycopg.Connection[tuple[Any, ...]]", tx.connection.driver_connection)


def execute(
    tx: Connection, statement: LiteralString, parameters: Sequence[object] | Mapping[str, object]
) -> None:
    """Runs a statement whose rows nobody wants. What it says `%b` or `%(name)b` for goes in the driver's binary form: of many rows that
    come as arrays, half the cost is else in writing them as text."""
    driver_of(tx).execute(statement, parameters)


def copy_binary(
    tx: Connection, statement: LiteralString, types: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """A binary COPY of rows. types: PostgreSQL's names of the columns' types; a uuid is given as its 16 bytes."""
    with driver_of(tx).cursor() as cursor:
        # To make a UUID of a record id, and 16 bytes of that again, takes longer than to encrypt a record.
        cursor.adapters.register_dumper(_Sixteen, _SixteenDumper)
        with cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

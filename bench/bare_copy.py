"""The floor of all storing: binary COPY of rows of 1.5 KB into a table like logging's, one durable transaction a batch, against text."""

import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, LiteralString, Self
from uuid import UUID

from bench.figures import Figure, in_turns
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from shared.clock import SystemClock
from shared.ids import new_record_id

ROW_BYTES: Final = 1_500
_COPY: Final[dict[str, LiteralString]] = {
    "BINARY": "COPY rows FROM STDIN (FORMAT BINARY)",
    "TEXT": "COPY rows FROM STDIN (FORMAT TEXT)",
}


class BareTable:
    """A table with logging's key and nothing else, in a database of its own, as long as the block runs."""

    def __init__(self, server: Postgres) -> None:
        server.ensure_database("bare", "bench")
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(server.administration("bare"))
        self._connection.autocommit = False
        self._connection.execute(
            "CREATE TABLE rows (org_id text, record_id uuid, sealed bytea, PRIMARY KEY (org_id, record_id))"
        )
        self._connection.commit()
        self._sealed = os.urandom(ROW_BYTES)

    def copy(self, rows: int, form: str = "BINARY") -> None:
        """So many rows in one transaction, durable when it returns."""
        now = SystemClock().now()
        with self._connection.cursor() as cursor, cursor.copy(_COPY[form]) as stream:
            stream.set_types(["text", "uuid", "bytea"])
            for _ in range(rows):
                stream.write_row(("org_bench", UUID(bytes=new_record_id(now)), self._sealed))
        self._connection.commit()

    def empty(self) -> None:
        """Removes all rows."""
        self._connection.execute("TRUNCATE rows")
        self._connection.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def measure(small: bool) -> Iterator[Figure]:
    """`bare_copy_rows_per_s` and `binary_copy_ratio`."""
    rows, rounds = (2_000, 3) if small else (20_000, 7)
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(
            Path(directory) / "data", port=free_ports(1)[0], password="bench", log=Path(directory) / "log"
        )
        server.start()
        try:
            with BareTable(server) as table:
                binary, text = in_turns(
                    lambda: table.copy(rows), lambda: table.copy(rows, "TEXT"), rounds, between=table.empty
                )
        finally:
            server.stop()
    yield Figure(
        "bare_copy_rows_per_s",
        rows / statistics.median(binary),
        "rows/s",
        True,
        f"binary COPY of {rows} rows of {ROW_BYTES} bytes into a table with logging's key, one durable commit, one writer",
    )
    yield Figure(
        "binary_copy_ratio",
        statistics.median(b / a for a, b in zip(binary, text, strict=True)),
        "ratio",
        True,
        "rows/s of binary COPY ÷ rows/s of text COPY of the same rows, in turns",
    )

"""The floor of all storing: binary COPY of rows of 1.5 KB into a table like logging's, one durable transaction a batch, against text."""

import os
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, in_turns
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from shared.ids import new_record_id
from tests.support.clocks import ManualClock

_ROW_BYTES = 1500


def measure(small: bool) -> Iterator[Figure]:
    """`bare_copy_rows_per_s` and `binary_copy_ratio`."""
    rows, rounds = (2_000, 3) if small else (20_000, 7)
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(
            Path(directory) / "data", port=free_ports(1)[0], password="bench", log=Path(directory) / "log"
        )
        server.start()
        try:
            with server.administration() as connection:
                connection.execute(
                    "CREATE TABLE rows (org_id text, record_id uuid, sealed bytea, PRIMARY KEY (org_id, record_id))"
                )
                connection.commit()
                sealed = os.urandom(_ROW_BYTES)

                def copy(form: str) -> None:
                    now = ManualClock().now()
                    with (
                        connection.cursor() as cursor,
                        cursor.copy(f"COPY rows FROM STDIN (FORMAT {form})") as stream,
                    ):
                        stream.set_types(["text", "uuid", "bytea"])
                        for _ in range(rows):
                            stream.write_row(("org_bench", _uuid(new_record_id(now)), sealed))
                    connection.commit()
                    connection.execute("TRUNCATE rows")
                    connection.commit()

                binary, text = in_turns(lambda: copy("BINARY"), lambda: copy("TEXT"), rounds)
        finally:
            server.stop()
    yield Figure(
        "bare_copy_rows_per_s",
        rows / statistics.median(binary),
        "rows/s",
        True,
        f"binary COPY of {rows} rows of {_ROW_BYTES} bytes into a table with logging's key, one durable commit, one writer",
    )
    yield Figure(
        "binary_copy_ratio",
        statistics.median(b / a for a, b in zip(binary, text, strict=True)),
        "ratio",
        True,
        "rows/s of binary COPY ÷ rows/s of text COPY of the same rows, in turns",
    )


def _uuid(record_id: bytes) -> object:
    import uuid

    return uuid.UUID(bytes=record_id)

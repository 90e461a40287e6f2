"""Records read whole under a grant, each opened for the first time, against a bare SELECT of the sealed rows, in turns, on the same
PostgreSQL server."""

import statistics
import tomllib
from collections.abc import Iterator

import grpc

from bench.figures import Figure, in_turns, median_ratio
from bench.grants import Engineers
from bench.ingest_ratio import Streams
from bench.logging_service import CONTENT_BYTES, Logging, logging_running
from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2, read_pb2_grpc
from services.logging.store.tables import RECORD_COLUMNS

_SELECT = (
    f"SELECT {', '.join(RECORD_COLUMNS)} FROM interactions WHERE organization_id = %s ORDER BY record_id"
)


class Reader:
    """All of an organization's records at each call, under a grant that read none of them before. `prepare` gets the grant: that a
    colleague approves is not logging's."""

    def __init__(self, there: Logging, channel: grpc.Channel, rows: int) -> None:
        self._there = there
        self._rows = rows
        self._engineers = Engineers(there.access_control)
        self._read = read_pb2_grpc.ReadServiceStub(channel).ReadInteractions
        self._metadata = (("authorization", f"Bearer {self._engineers.token('logging')}"),)
        self._grant_id = ""
        self.prepare()

    def prepare(self) -> None:
        """A grant for the next call."""
        organization_id = self._there.organization_id
        self._grant_id = self._engineers.granted(organization_id, grants_pb2.DETAIL_FULL, budget=self._rows)

    def __call__(self) -> None:
        asked = read_pb2.ReadInteractionsRequest(
            grant_id=self._grant_id,
            organization_id=self._there.organization_id,
            detail=grants_pb2.DETAIL_FULL,
            batch_size=500,
        )
        answers = self._read(asked, metadata=self._metadata, timeout=600)
        found = sum(
            bool(one.content.generations[0].parts[0].text) for answer in answers for one in answer.records
        )
        if found != self._rows:
            raise RuntimeError(f"{found} records were read of {self._rows}")


def people_channel(there: Logging) -> grpc.Channel:
    """A channel to logging as people have it."""
    config = tomllib.loads((there.access_control.home / "logging" / "logging-0.toml").read_text())
    authority = there.gateway.authority.read_bytes()
    return grpc.secure_channel(config["people_address"], grpc.ssl_channel_credentials(authority))


def measure(small: bool) -> Iterator[Figure]:
    """`read_ratio`, and the rows a second that it is made of."""
    rows, rounds = (1_000, 3) if small else (10_000, 7)
    with (
        logging_running() as there,
        people_channel(there) as channel,
        there.postgres.administration("logging") as connection,
    ):
        Streams(there, rows)()
        reader = Reader(there, channel, rows)

        def select() -> None:
            cursor = connection.execute(_SELECT, [there.organization_id], binary=True)
            if len(cursor.fetchall()) != rows:
                raise RuntimeError("not all rows are there")

        read, selected = in_turns(reader, select, rounds, between=reader.prepare)
    yield Figure(
        "read_ratio",
        1 / median_ratio(read, selected),
        "ratio",
        True,
        f"rows/s read in full in batches of 500 under a new grant, each page decided, counted and in the audit log before it is opened, "
        f"over TLS, ÷ rows/s of a bare SELECT of the sealed rows; {rows} rows of {CONTENT_BYTES} bytes, one reader",
    )
    yield Figure("read_rows_per_s", rows / statistics.median(read), "rows/s", True, "read")

"""Records read whole under a grant, each opened for the first time, against a bare SELECT of the sealed rows, in turns, on the same
PostgreSQL server."""

import statistics
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import grpc

from bench.figures import Figure, in_turns, median_ratio
from bench.grants import Engineers
from bench.ingest_ratio import Streams
from bench.logging_service import CONTENT_BYTES, Logging, logging_running, wait_for_screening
from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2
from services.logging.store.tables import RECORD_COLUMNS

# Two processes of logging, for one interpreter does one thing at a time and there are two cores; two readers to each, for while one waits
# for access control another is shown something.
_PROCESSES: Final = 2
_READERS: Final = 4
# As many as the contract allows, which is what the archive's client asks for too.
_BATCH: Final = 2000
_METHOD: Final = "/kept.logging.v1.ReadService/ReadInteractions"
_SELECT = (
    f"SELECT {', '.join(RECORD_COLUMNS)} FROM interactions WHERE organization_id = %s ORDER BY record_id"
)


class Readers:
    """So many readers at a time, each through one of the processes in turn. Each reads all of an organization's records at each call,
    under a grant of its own that read none of them before. `prepare` gets the grants, for that a colleague approves is not logging's, and
    looks at what came last time, for that is the reader's, who has processors of her own."""

    def __init__(self, there: Logging, channels: Sequence[grpc.Channel], readers: int, rows: int) -> None:
        self._there = there
        self._rows = rows
        self._engineers = Engineers(there.access_control)
        self._metadata = (("authorization", f"Bearer {self._engineers.token('logging')}"),)
        self._read: list[Any] = [
            channels[number % len(channels)].unary_stream(
                _METHOD, read_pb2.ReadInteractionsRequest.SerializeToString, lambda message: message
            )
            for number in range(readers)
        ]
        self._received: list[list[bytes]] = []
        self._grant_ids: list[str] = []
        self.prepare()

    def prepare(self) -> None:
        """Grants for the next call. Raises RuntimeError where not all records came whole at the last."""
        for received in self._received:
            answers = map(read_pb2.ReadInteractionsResponse.FromString, received)
            # That what the model said came.
            found = sum(len(one.content.generations) for answer in answers for one in answer.records)
            if found != self._rows:
                raise RuntimeError(f"{found} records were read of {self._rows}")
        organization_id = self._there.organization_id
        self._grant_ids = [
            self._engineers.granted(organization_id, grants_pb2.DETAIL_FULL, budget=self._rows)
            for _ in self._read
        ]

    def __call__(self) -> None:
        with ThreadPoolExecutor(len(self._read)) as threads:
            self._received = list(threads.map(self._one, range(len(self._read))))

    def _one(self, number: int) -> list[bytes]:
        asked = read_pb2.ReadInteractionsRequest(
            grant_id=self._grant_ids[number],
            organization_id=self._there.organization_id,
            detail=grants_pb2.DETAIL_FULL,
            batch_size=_BATCH,
        )
        return list(self._read[number](asked, metadata=self._metadata, timeout=600))


@contextmanager
def people_channels(there: Logging) -> Iterator[list[grpc.Channel]]:
    """A channel to each process of logging as people have it."""
    with ExitStack() as opened:
        yield [opened.enter_context(people_channel(there, number)) for number in range(len(there.addresses))]


def people_channel(there: Logging, process: int = 0) -> grpc.Channel:
    """A channel to logging as people have it."""
    config = tomllib.loads((there.access_control.home / "logging" / f"logging-{process}.toml").read_text())
    authority = there.gateway.authority.read_bytes()
    return grpc.secure_channel(config["people_address"], grpc.ssl_channel_credentials(authority))


def measure(small: bool) -> Iterator[Figure]:
    """`read_ratio`, and the rows a second that it is made of."""
    rows, rounds = (1_000, 3) if small else (10_000, 7)
    with (
        logging_running(_PROCESSES) as there,
        people_channels(there) as channels,
        there.postgres.administration("logging") as connection,
    ):
        recorded = Streams(there, rows)
        recorded()
        recorded.prepare()  # which says whether all are stored
        wait_for_screening(there)
        readers = Readers(there, channels, _READERS, rows)

        def select() -> None:
            cursor = connection.execute(_SELECT, [there.organization_id], binary=True)
            if len(cursor.fetchall()) != rows:
                raise RuntimeError("not all rows are there")

        read, selected = in_turns(readers, select, rounds, between=readers.prepare)
    yield Figure(
        "read_ratio",
        _READERS / median_ratio(read, selected),
        "ratio",
        True,
        f"rows/s that {_READERS} readers read in full from {_PROCESSES} processes, {_BATCH} records a page, under new grants, each page "
        f"decided, counted and in the audit log before it is opened, over TLS, ÷ rows/s of a bare SELECT of the sealed rows; {rows} rows "
        f"of {CONTENT_BYTES} bytes each",
    )
    yield Figure("read_rows_per_s", _READERS * rows / statistics.median(read), "rows/s", True, "read")

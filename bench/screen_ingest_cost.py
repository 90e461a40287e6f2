"""Recording while everything is screened against recording while nothing is, in turns, on the same services. Nothing is screened while the
process that screens is stopped: what waits is worked off before the next round."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Final

from bench.figures import Figure, median_ratio, seconds
from bench.ingest_ratio import Streams
from bench.logging_service import CONTENT_BYTES, logging_running
from shared.database import Database

# As in bench.ingest_ratio.
_PROCESSES: Final = 2
_WAIT: Final = 0.02
_PATIENCE: Final = 300.0


def measure(small: bool) -> Iterator[Figure]:
    """`screen_ingest_cost`, and how long it takes until all of a turn is screened."""
    rows, rounds = (1_000, 2) if small else (20_000, 7)
    on, off, behind = [], [], []
    with logging_running(_PROCESSES, reviewed=True) as there:
        ingest, database = Streams(there, rows), Database(there.database_url)
        for number in range(rounds + 1):
            recorded = seconds(ingest)
            left = seconds(lambda: _screened(database))
            ingest.prepare()
            os.kill(there.screening_pid, signal.SIGSTOP)
            try:
                unscreened = seconds(ingest)
            finally:
                os.kill(there.screening_pid, signal.SIGCONT)
            _screened(database)
            ingest.prepare()
            if number:  # the first is not counted
                on.append(recorded)
                off.append(unscreened)
                behind.append(left)
        database.close()
    yield Figure(
        "screen_ingest_cost",
        median_ratio(off, on),
        "ratio",
        True,
        f"rows/s recorded by {_PROCESSES} processes while screened with 500 rules ÷ while not; {rows} rows of {CONTENT_BYTES} bytes a turn",
    )
    yield Figure(
        "screen_behind_s",
        sorted(behind)[len(behind) // 2],
        "s",
        False,
        "from the last receipt to the last verdict",
    )


def _screened(database: Database) -> None:
    """Waits until every record has its verdict."""
    deadline = time.monotonic() + _PATIENCE
    with database.engine.connect() as connection:
        while connection.exec_driver_sql("SELECT EXISTS (SELECT FROM unscreened)").scalar_one():
            connection.rollback()
            if time.monotonic() > deadline:
                raise RuntimeError("screening does not keep up")
            time.sleep(_WAIT)

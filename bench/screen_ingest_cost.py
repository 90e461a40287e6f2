"""Recording while everything is screened against recording while nothing is, in turns, on the same services."""

from collections.abc import Iterator
from typing import Final

from bench.figures import Figure, median_ratio, seconds
from bench.ingest_ratio import Streams
from bench.logging_service import CONTENT_BYTES, logging_running, screening_stopped, wait_for_screening

# As in bench.ingest_ratio.
_PROCESSES: Final = 2


def measure(small: bool) -> Iterator[Figure]:
    """`screen_ingest_cost`, and how long it takes until all of a turn is screened."""
    rows, rounds = (1_000, 2) if small else (20_000, 7)
    on, off, behind = [], [], []
    with logging_running(_PROCESSES, reviewed=True) as there:
        ingest = Streams(there, rows)
        for number in range(rounds + 1):
            recorded = seconds(ingest)
            left = seconds(lambda: wait_for_screening(there))
            ingest.prepare()
            with screening_stopped(there):
                unscreened = seconds(ingest)
            wait_for_screening(there)
            ingest.prepare()
            if number:  # the first is not counted
                on.append(recorded)
                off.append(unscreened)
                behind.append(left)
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

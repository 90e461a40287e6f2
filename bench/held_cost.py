"""What holds cost a retention run: the whole of it, with one row in a hundred held by holds that name it, against none held."""

import statistics
from collections.abc import Iterator

from bench.due_records import due_records
from bench.figures import Figure, median_ratio


def measure(small: bool) -> Iterator[Figure]:
    """`held_cost`, and the seconds behind it."""
    rows, rounds = (20_000, 1) if small else (10_000_000, 2)
    with_holds: list[float] = []
    without: list[float] = []
    for _ in range(rounds):
        for held, came in ((rows // 100, with_holds), (0, without)):
            with due_records() as records:  # holds outlive a run: each begins without any
                records.put(1_000)
                records.run()  # not counted: the first of everything
                records.put(rows, held)
                came.append(records.run().whole)
    yield Figure(
        "held_cost",
        median_ratio(with_holds, without),
        "ratio",
        False,
        f"a whole run over {rows:,} rows due with {rows // 100:,} of them held by name ÷ with none held",
    )
    yield Figure(
        "held_run_s", statistics.median(with_holds), "seconds", False, f"that run, {rows // 100:,} rows held"
    )

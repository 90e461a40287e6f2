"""How long it takes until everything that is due is unreadable, many rows due against few of the same organizations and days: keys are
destroyed, and how many rows they sealed must not matter."""

import statistics
from collections.abc import Iterator

from bench.due_records import ORGANIZATIONS, due_records
from bench.figures import Figure, median_ratio


def measure(small: bool) -> Iterator[Figure]:
    """`unreadable_growth`, and the seconds behind it."""
    few, many, rounds = (1_000, 50_000, 2) if small else (10_000, 10_000_000, 3)
    over: list[float] = []
    under: list[float] = []
    with due_records() as records:
        records.put(few)
        records.run()  # not counted: the first of everything
        for _ in range(rounds):
            for rows, came in ((many, over), (few, under)):
                records.put(rows)
                took = records.run()
                assert took.removed >= rows - ORGANIZATIONS
                came.append(took.unreadable)
    yield Figure(
        "unreadable_growth",
        median_ratio(over, under),
        "ratio",
        False,
        f"seconds until all that is due is unreadable, {many:,} rows due ÷ {few:,}, of the same {ORGANIZATIONS} organizations and one day",
    )
    yield Figure(
        "unreadable_s", statistics.median(over), "seconds", False, f"until {many:,} rows due are unreadable"
    )

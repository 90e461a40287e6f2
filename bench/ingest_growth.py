"""Recording into a table that is large against one that is small, in turns: two services, each on a server of its own, that differ in
nothing but how many rows the day's partition has."""

import statistics
import sys
from collections.abc import Iterator
from typing import Final

from bench.figures import Figure, median_ratio, seconds
from bench.ingest_ratio import Streams
from bench.logging_service import CONTENT_BYTES, Logging, logging_running, wait_for_screening
from shared.clock import SystemClock

_FILLING_BYTES: Final = 200
_ORGANIZATIONS: Final = 1_000
_AT_ONCE: Final = 250_000
# Ids as clients make them, one for each number: a time of the day's first part, then what looks random and is never twice the same.
_FILL: Final = """
    INSERT INTO interactions (organization_id, record_id, received_at, gateway, application, model, end_user, prompt_tokens,
        generation_tokens, finish_reason, data_key_id, content)
    SELECT 'org_' || lpad((number %% %(organizations)s)::text, 26, '0'),
        (lpad(to_hex(%(begin)s + number %% 60000), 12, '0') || '7' || substr(md5(number::text), 1, 3)
            || '8' || substr(md5(number::text), 4, 15))::uuid,
        now(), 'bench', 'bench', 'model-1', 'user-' || number %% 10000, 180, 180, 'stop', md5((number / 1000)::text)::uuid,
        decode(repeat(md5(number::text), 13), 'hex')
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
"""


def fill(there: Logging, rows: int) -> None:
    """Rows of many organizations into the partition of today, each with some 200 bytes of content; says how far it is."""
    now = SystemClock().now()
    begin = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1_000)
    with there.postgres.administration("logging") as connection:
        for first in range(0, rows, _AT_ONCE):
            last = min(first + _AT_ONCE, rows) - 1
            given = {"organizations": _ORGANIZATIONS, "begin": begin, "first": first, "last": last}
            connection.execute(_FILL, given)
            sys.stderr.write(f"bench: ingest_growth: {last + 1:,} of {rows:,} rows\n")
        # What the server would do behind the measurement's back is done before it.
        connection.execute("VACUUM ANALYZE interactions")
        connection.execute("CHECKPOINT")


def measure(small: bool) -> Iterator[Figure]:
    """`ingest_growth`, and the rows a second that it is made of."""
    few, many, rows, rounds = (1_000, 50_000, 2_000, 3) if small else (10_000, 10_000_000, 20_000, 7)
    with logging_running() as little, logging_running() as large:
        into_large, into_little = Streams(large, rows), Streams(little, rows)
        for ingest in (into_large, into_little):
            ingest()  # and with it today's partition is there
            ingest.prepare()
        fill(little, few)
        fill(large, many)

        large_seconds, little_seconds = [], []
        for number in range(rounds + 1):
            taken = {}
            # Each comes first every other time, and begins when nothing of the other is left to be done.
            order = [(large, into_large), (little, into_little)]
            for there, ingest in order if number % 2 else reversed(order):
                taken[there.organization_id] = seconds(ingest)
                wait_for_screening(there)
                ingest.prepare()
            if number:  # the first warms both up
                large_seconds.append(taken[large.organization_id])
                little_seconds.append(taken[little.organization_id])
    yield Figure(
        "ingest_growth",
        1 / median_ratio(large_seconds, little_seconds),
        "ratio",
        True,
        f"rows/s recorded with {many:,} rows of {_FILLING_BYTES} bytes present ÷ with {few:,}; {rows} rows of {CONTENT_BYTES} bytes a turn",
    )
    yield Figure(
        "ingest_large_rows_per_s",
        rows / statistics.median(large_seconds),
        "rows/s",
        True,
        f"recorded with {many:,} present",
    )

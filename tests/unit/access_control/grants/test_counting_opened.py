"""Each record counts once under a grant, however it is opened: a page in a row, which is one row, again, out of order, or by the version
before, which had a row for each."""

import os
import resource
from itertools import pairwise

import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.access_control.store import grants, opened_records
from services.access_control.store.opened_records import count_records
from shared.database import Database
from tests.unit.access_control.grants.test_opening import granted, reading
from tests.unit.access_control.world import World, migrated_vault, world

__all__ = ["migrated_vault", "reading", "world"]

_NUMBERS = st.sets(st.integers(min_value=0, max_value=24), min_size=1)
_RUNS = st.builds(
    lambda first, length: set(range(first, first + length)), st.integers(0, 20), st.integers(1, 6)
)
_STEPS = st.lists(st.tuples(_NUMBERS | _RUNS, st.booleans()), min_size=1, max_size=12)


def ids(numbers: set[int]) -> list[bytes]:
    return [number.to_bytes(16) for number in sorted(numbers)]


def open_as_the_version_before(database: Database, grant_id: str, numbers: set[int]) -> None:
    """A row for each that has none; it looks nowhere else."""
    with database.transaction() as tx:
        tx.execute(
            sqlalchemy.text(
                "INSERT INTO opened_records SELECT :grant_id, id, now() FROM unnest(CAST(:ids AS bytea[])) AS wanted(id) "
                "ON CONFLICT DO NOTHING"
            ),
            {"grant_id": grant_id, "ids": ids(numbers)},
        )


def pages_of(database: Database, grant_id: str) -> list[tuple[bytes, bytes, list[bytes]]]:
    """First, last, and the new ones, in order."""
    pages = opened_records.opened_pages
    with database.transaction() as tx:
        found = tx.execute(sqlalchemy.select(pages).where(pages.c.grant_id == grant_id).order_by("first_id"))
        return [(page.first_id, page.last_id, page.record_ids) for page in found]


def singles_of(database: Database, grant_id: str) -> list[bytes]:
    records = opened_records.opened_records
    with database.transaction() as tx:
        return list(
            tx.scalars(
                sqlalchemy.select(records.c.record_id)
                .where(records.c.grant_id == grant_id)
                .order_by("record_id")
            )
        )


@example(
    [({0, 1, 2, 3, 4}, False), ({2, 3, 9}, False), ({5, 6}, False)]
)  # back, ahead over a gap, and into the gap
@example([({0, 9}, False), ({4}, False), ({3, 4, 9, 10}, False)])  # between two of a page
@example([({4, 5}, True), ({3, 4, 5, 6}, False), ({6, 7}, False)])  # from the version before
@given(_STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_record_counts_once(reading: World, steps: list[tuple[set[int], bool]]) -> None:
    grant_id = granted(reading)
    seen: set[int] = set()
    used = 0
    for numbers, by_the_version_before in steps:
        if by_the_version_before:
            open_as_the_version_before(reading.database, grant_id, numbers)
        else:
            used += len(numbers - seen)
            with reading.database.transaction() as tx:
                assert count_records(tx, grant_id, ids(numbers), reading.clock.now()) == used
                grant = grants.load(tx, grant_id)
            assert grant is not None
            assert grant.used == used
        seen |= numbers
    pages = pages_of(reading.database, grant_id)
    # In order, none into another: by that a look tells which of them may know a record.
    bounds = [bound for first, last, _ in pages for bound in (first, last)]
    assert bounds == sorted(bounds)
    assert all(before[1] < after[0] for before, after in pairwise(pages))
    assert all(first <= min(new) and max(new) <= last for first, last, new in pages)
    written = singles_of(reading.database, grant_id) + [record_id for *_, new in pages for record_id in new]
    assert set(written) == set(ids(seen))


def test_who_reads_on_writes_a_row_a_page(reading: World) -> None:
    grant_id = granted(reading)
    for first in (0, 10, 20):
        with reading.database.transaction() as tx:
            count_records(tx, grant_id, ids(set(range(first, first + 10))), reading.clock.now())
    pages = pages_of(reading.database, grant_id)
    assert [len(new) for *_, new in pages] == [10, 10, 10]
    assert singles_of(reading.database, grant_id) == []


def test_grants_know_nothing_of_each_other(reading: World) -> None:
    one, other = granted(reading), granted(reading)
    for grant_id in (one, other, one):
        with reading.database.transaction() as tx:
            assert count_records(tx, grant_id, ids({1, 2, 3}), reading.clock.now()) == 3


def test_a_connection_has_any_descriptor(reading: World) -> None:
    """Each of a caller's connections has one, and a database connection that is opened then one behind them all; select takes none from
    1,024 on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], min(limits[1], 4096)), limits[1]))
    grant_id = granted(reading)
    reading.database.engine.dispose()
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1024:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        with reading.database.transaction() as tx:
            assert count_records(tx, grant_id, ids({1}), reading.clock.now()) == 1
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

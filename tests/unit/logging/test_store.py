"""Tables: both ways of writing, locks and fences, partitions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date, timedelta

import psycopg
import pytest
from sqlalchemy import select, text

from services.logging.partitions import Partitions
from services.logging.records import Row
from services.logging.store import partitions, reading, stripes, writing
from services.logging.store.reading import Span
from services.logging.store.tables import interactions, stored_counts
from shared.database import Database
from shared.errors import KeptError, Reason
from shared.ids import day_start, new_record_id, record_day
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import NOON, ORG, OTHER

DAY = NOON.date()


def row(organization_id: str = ORG, record_id: bytes | None = None, content: bytes | None = b"sealed") -> Row:
    return Row(
        organization_id=organization_id,
        record_id=record_id or new_record_id(NOON),
        received_at=NOON,
        gateway="edge",
        application="a",
        model="m",
        end_user="",
        prompt_tokens=1,
        generation_tokens=2,
        finish_reason="stop",
        api_key_id="apikey_" + "a" * 26,
        country="" if content is None else "DE",
        latency_us=1500,
        data_key_id=None if content is None else b"d" * 16,
        content=content,
    )


@pytest.fixture
def tables(database: Database) -> Database:
    """A database with the partition of the day."""
    with database.transaction() as tx:
        assert partitions.make(tx, DAY)
    return database


def everything(organization_id: str) -> Span:
    return Span(organization_id, bytes(16), b"\xff" * 16, None, bytes(16))


def test_what_is_written_is_read_back(tables: Database) -> None:
    rows = sorted([row(), row(content=None), row(OTHER)], key=lambda one: one.record_id)
    with tables.transaction() as tx:
        assert {one.key for one in writing.write(tx, rows, "w")} == {one.key for one in rows}
    with tables.transaction() as tx:
        found = reading.page(tx, everything(ORG), None, 10).rows
        contents = reading.contents(tx, ORG, [one.record_id for one in found])
    mine = [one for one in rows if one.organization_id == ORG]
    for one, stored in zip(mine, found, strict=True):
        plain = {name: value for name, value in asdict(stored).items() if name in asdict(one)}
        assert plain | {"content": contents.get(stored.record_id)} == asdict(one)
        assert stored.content_size == len(one.content or b"")


def test_a_row_that_is_there_stays_and_the_others_of_its_batch_are_stored(tables: Database) -> None:
    first, second, third = row(), row(), row(OTHER)
    with tables.transaction() as tx:
        writing.write(tx, [first], "w")
    again = replace(first, content=b"another")
    for expected in (
        {second.key, third.key},
        set(),
    ):  # the temporary table serves more than one transaction of a connection
        with pytest.raises(writing.AlreadyThere), tables.transaction() as tx:
            writing.write(tx, [second, again, third], "w")
        with tables.transaction() as tx:
            assert {
                one.key for one in writing.write(tx, [second, again, third], "w", around=True)
            } == expected
    with tables.transaction() as tx:
        assert reading.contents(tx, ORG, [first.record_id]) == {first.record_id: b"sealed"}
        assert writing.present(tx, [first.key, second.key, (OTHER, first.record_id)]) == {
            first.key,
            second.key,
        }
        assert tx.execute(select(interactions.c.record_id)).all().__len__() == 3


def test_writers_of_the_same_records_store_each_once(tables: Database) -> None:
    rows = [row() for _ in range(200)]
    stored: list[Sequence[Row]] = []
    start = threading.Barrier(4)

    def write() -> None:
        start.wait()
        try:
            with tables.transaction() as tx:
                fresh = writing.write(tx, rows, "w")
        except writing.AlreadyThere:
            with tables.transaction() as tx:
                fresh = writing.write(tx, rows, "w", around=True)
        stored.append(fresh)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(len, stored)) == [0, 0, 0, 200]
    with tables.transaction() as tx:
        assert tx.execute(select(stored_counts.c.records)).scalars().all() == [200]


def test_a_fence_waits_for_writers_and_stands_before_the_next(tables: Database) -> None:
    writing_now, fenced = threading.Event(), threading.Event()

    def close() -> None:
        writing_now.wait(10)
        with tables.transaction() as tx:
            stripes.close_organization(tx, ORG, NOON)
            stripes.close_day(tx, DAY, NOON)
        fenced.set()

    thread = threading.Thread(target=close)
    thread.start()
    with tables.transaction() as tx:
        stripes.share(tx, [ORG, OTHER])
        assert stripes.closed(tx, [ORG, OTHER], [DAY]) == (set(), set())
        writing_now.set()
        assert not fenced.wait(0.3)  # the writer is waited for
        assert stripes.closed(tx, [ORG], []) == (set(), set())
    thread.join(10)
    with tables.transaction() as tx:
        stripes.share(tx, [ORG, OTHER])
        assert stripes.closed(tx, [ORG, OTHER], [DAY, DAY + timedelta(days=1)]) == ({ORG}, {DAY})


def test_a_partition_holds_the_24_hours_of_its_utc_day(database: Database) -> None:
    # Days on which Berlin's clocks change, and a month's end, made by sessions in different zones.
    days = [date(2025, 3, 30), date(2025, 10, 26), date(2026, 2, 28)]
    for day, zone in zip(days, ["Europe/Berlin", "America/New_York", "UTC"], strict=True):
        first = new_record_id(day_start(day))
        last = new_record_id(day_start(day + timedelta(days=1)) - timedelta(milliseconds=1))
        after = new_record_id(day_start(day + timedelta(days=1)))
        with database.transaction() as tx:
            tx.execute(text(f"SET LOCAL TIME ZONE '{zone}'"))
            assert partitions.make(tx, day)
            assert partitions.make(tx, day)  # once more is nothing
            writing.write(tx, [row(record_id=first), row(record_id=last)], "w")
            count = f"SELECT count(*) FROM {partitions.partition_name(day)}"
            assert tx.execute(text(count)).scalar_one() == 2
        assert record_day(first) == record_day(last) == day
        # There is no default partition in which a stray row could hide.
        with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as tx:
            writing.write(tx, [row(record_id=after)], "w")


def test_partitions_are_made_ahead_without_stopping_readers_and_never_for_a_closed_day(
    database: Database,
) -> None:
    closed = DAY + timedelta(days=2)
    with database.transaction() as tx:
        stripes.close_day(tx, closed, NOON)
    made = Partitions(database, ManualClock(NOON), days_ahead=3)
    with database.transaction() as reader:
        reader.execute(select(interactions.c.record_id))  # holds its lock on the parent
        made.make_ahead()
        made.make_ahead()
    with database.transaction() as tx:
        ready = [offset for offset in range(-2, 6) if partitions.exists(tx, DAY + timedelta(days=offset))]
    assert ready == [-1, 0, 1, 3]


def test_a_drop_does_not_queue_behind_a_reader(tables: Database) -> None:
    with tables.transaction() as reader:
        reader.execute(select(interactions.c.record_id))
        with pytest.raises(KeptError) as refused, tables.transaction() as tx:
            partitions.drop(tx, DAY)
        assert refused.value.reason == Reason.REASON_DATABASE_UNAVAILABLE
    with tables.transaction() as tx:
        assert partitions.drop(tx, DAY)
        assert not partitions.drop(tx, DAY)


def test_a_drop_waits_for_vacuum_and_nobody_waits_behind_it(tables: Database) -> None:
    """Vacuum is sent away after deadlock_timeout by whoever waits that long; who waits behind a reader may not."""
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass(:name) "
        "AND clock_timestamp() - waitstart > interval '300 milliseconds'"
    )
    with ThreadPoolExecutor(1) as other:
        with tables.transaction() as vacuum:
            name = partitions.partition_name(DAY)
            vacuum.execute(text(f"LOCK TABLE {name} IN SHARE UPDATE EXCLUSIVE MODE"))
            dropped = other.submit(_drop, tables)
            while not dropped.done():
                with tables.transaction() as tx:
                    if tx.execute(waiting, {"name": name}).scalar_one():
                        break
            with tables.transaction() as tx:
                tx.execute(text("SET LOCAL lock_timeout = '20ms'"))
                writing.write(tx, [row()], "w")
                tx.execute(select(interactions.c.record_id)).all()
        assert dropped.result()


def _drop(database: Database) -> bool:
    with database.transaction() as tx:
        return partitions.drop(tx, DAY)

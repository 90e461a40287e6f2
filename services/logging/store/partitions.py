"""Partitions of `interactions`: one a UTC day, made ahead or when first needed, dropped as a whole.

A partition is made as a table of its own and attached, which locks the parent against no reader or writer (PARTITION OF would). Dropping
locks the parent exclusively for a moment. Both give up quickly when they cannot have their locks, so that nobody queues behind them.

Autovacuum that is at work on a partition gives way only to those who wait longer than deadlock_timeout (1 s), which nobody may whom others
queue behind. So it is sent away before, by waiting for a lock on the partition alone that neither readers nor writers mind.
"""

from datetime import date, timedelta
from typing import Final
from uuid import UUID

from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from services.logging.store import locks
from services.logging.store.tables import day_fences
from shared.ids import day_start, lowest_record_id

_CLASS: Final = 7302
_LOCK_TIMEOUT: Final = "250ms"
# Who records waits behind a drop that waits for a reader.
_DROP_TIMEOUT: Final = "50ms"
_DROP_TRIES: Final = 4
_VACUUM_TIMEOUT: Final = "5s"


def partition_name(day: date) -> str:
    """The table of a UTC day."""
    return f"interactions_{day:%Y%m%d}"


def bounds(day: date) -> tuple[UUID, UUID]:
    """The record ids of a day: from the first, included, to the second, excluded."""
    return UUID(bytes=lowest_record_id(day_start(day))), UUID(
        bytes=lowest_record_id(day_start(day + timedelta(days=1)))
    )


def exists(tx: Connection, day: date) -> bool:
    """Whether the day has a partition."""
    found = tx.execute(text("SELECT to_regclass(:name)"), {"name": partition_name(day)}).scalar_one()
    return found is not None


def make(tx: Connection, day: date) -> bool:
    """Makes the day's partition unless it exists. False for a day that is closed. Idempotent.

    Raises DATABASE_UNAVAILABLE (from the transaction) when the locks cannot be had within 250 ms; try again.
    """
    if exists(tx, day):
        return True
    lock(tx, day)
    if tx.execute(select(day_fences.c.day).where(day_fences.c.day == day)).one_or_none() is not None:
        return False
    if exists(tx, day):  # another process was quicker
        return True
    name, (low, high) = partition_name(day), bounds(day)
    tx.execute(
        text(
            f"CREATE TABLE {name} (LIKE interactions "
            "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)"
        )
    )
    tx.execute(
        text(f"ALTER TABLE interactions ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")
    )
    return True


def begin_drop(tx: Connection, day: date) -> bool:
    """Sends autovacuum away from the day's partition, which takes a second or more where it is at work: before the transaction holds
    anything that others wait for, and nobody waits for this. Whether there is one. Raises DATABASE_UNAVAILABLE (from the transaction) when
    it does not go in five seconds; try again."""
    lock(tx, day)
    if not exists(tx, day):
        return False
    _set_lock_timeout(tx, _VACUUM_TIMEOUT)
    # For its lock (SHARE UPDATE EXCLUSIVE), which this takes on the table where long values lie too; LOCK TABLE would not.
    name = partition_name(day)
    tx.execute(text(f"ALTER TABLE {name} SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)"))
    return True


def drop(tx: Connection, day: date) -> bool:
    """Drops the day's partition; whether there was one. Raises DATABASE_UNAVAILABLE (from the transaction) as `begin_drop` does, and when
    readers are in the way, for 50 ms each time that it tries; try again."""
    if not begin_drop(tx, day):
        return False
    _set_lock_timeout(tx, _DROP_TIMEOUT)
    for remaining in reversed(range(_DROP_TRIES)):
        try:
            with tx.begin_nested():  # what the transaction did before is not done again
                _drop(tx, partition_name(day))
            break
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable) or not remaining:
                raise
    return True


def _drop(tx: Connection, name: str) -> None:
    tx.execute(text(f"DROP TABLE {name}"))


def lock(tx: Connection, day: date) -> None:
    """One transaction at a time makes or drops a day's partition, and sees what the one before it did. Raises DATABASE_UNAVAILABLE (from
    the transaction) when that takes more than 250 ms; try again."""
    _set_lock_timeout(tx, _LOCK_TIMEOUT)
    locks.take(tx, _CLASS, day.toordinal(), partition_name(day))


def _set_lock_timeout(tx: Connection, timeout: str) -> None:
    tx.execute(text(f"SET LOCAL lock_timeout = '{timeout}'"))

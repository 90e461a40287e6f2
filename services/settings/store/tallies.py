"""Tables that count something by a subject's SHA-256: a number, and an instant that says when."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Connection, Table, select, update
from sqlalchemy.dialects.postgresql import insert

from services.settings.store.removal import remove_some

# A pair of number and instant, under names of its own.
T = TypeVar("T", bound=tuple[int, datetime])


class Tallies(Generic[T]):
    """Such a table. number, at: its columns beside `subject_sha256`. made: gives the pair of a row."""

    def __init__(
        self, table: Table, number: Column[Any], at: Column[Any], made: Callable[[int, datetime], T]
    ) -> None:
        self._table = table
        self._subject = table.c.subject_sha256
        self._number = number
        self._at = at
        self._made = made

    def lock(self, tx: Connection, subjects: Collection[bytes], now: datetime) -> dict[bytes, T]:
        """The pair of each of these, locked, in the order of their keys; none counted so far where there is no row."""
        keys = sorted(subjects)
        tx.execute(
            insert(self._table)
            .values([{self._subject: key, self._number: 0, self._at: now} for key in keys])
            .on_conflict_do_nothing()
        )
        rows = tx.execute(
            select(self._subject, self._number, self._at)
            .where(self._subject.in_(keys))
            .order_by(self._subject)
            .with_for_update()
        )
        return {subject: self._made(number, at) for subject, number, at in rows}

    def put(self, tx: Connection, subject: bytes, tally: T) -> None:
        """Writes the pair of one that is locked."""
        number, at = tally
        tx.execute(
            update(self._table).where(self._subject == subject).values({self._number: number, self._at: at})
        )

    def remove_older(self, tx: Connection, before: datetime, limit: int) -> int:
        """Forgets those whose instant lies before another, `limit` at most. Returns how many."""
        return remove_some(tx, self._table, self._at < before, limit)

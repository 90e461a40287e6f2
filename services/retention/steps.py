"""A step's writing: what came of calls, made with no transaction open, is written if nobody was faster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from services.retention.store import Tx
from shared.database import Database

T = TypeVar("T")


class Overtaken(Exception):
    """What the step is about is not as it was read any more."""


@contextmanager
def unchanged(database: Database, lock: Callable[[Tx, str], T | None], name: str, read: T) -> Iterator[Tx]:
    """A transaction in which what bears this id is locked and still as it was `read`. Raises Overtaken when it is not: another process
    was faster, and what we have to write is written."""
    with database.transaction() as tx:
        if lock(tx, name) != read:
            raise Overtaken
        yield tx

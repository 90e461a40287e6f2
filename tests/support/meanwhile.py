"""Two processes at once, where which is first matters: one is in the middle of a transaction, and what the other does then is watched."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")


@dataclass(frozen=True)
class Another(Generic[T]):
    """What another process does. is_waiting: it waits for the first one's transaction, rather than having ended."""

    is_waiting: bool
    _done: "Future[T]"

    def result(self) -> T:
        """What came of it, once the first one's transaction has ended. Raises what it raised."""
        return self._done.result(20)


def meanwhile(first: Connection, engine: Engine, act: Callable[[], T]) -> Another[T]:
    """Has somebody else act while `first` has a transaction open; returns when that one waits for it, or has ended."""
    return watched(first, engine, begun(act))


def begun(act: Callable[[], T]) -> "Future[T]":
    """An act that somebody else has begun."""
    elsewhere = ThreadPoolExecutor(1)
    done = elsewhere.submit(act)
    elsewhere.shutdown(wait=False)
    return done


def watched(first: Connection, engine: Engine, done: "Future[T]") -> Another[T]:
    """The same of an act that has begun already."""
    pid = first.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    blocked = f"SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
        is_waiting = False
        while not is_waiting and not done.done():
            is_waiting = bool(watching.exec_driver_sql(blocked).scalar_one())
    return Another(is_waiting, done)

"""A service on a copy of its database, beside the audit log that went on: what a restore from a backup comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

from shared.database import Database
from tests.support.postgres import FreshDatabase, database_name


class _World(Protocol):
    database: Database

    def run_jobs(self) -> None: ...


World = TypeVar("World", bound=_World)


@contextmanager
def backups(
    world: World, url: str, fresh_database: FreshDatabase, start: Callable[[str], World]
) -> Iterator[Callable[[], Callable[[], World]]]:
    """What takes a copy of the database at `url` now; what that gives starts a service on it later, by `start`,
    beside the same audit log; it is closed with the block."""
    with ExitStack() as opened:

        def copy() -> Callable[[], World]:
            world.run_jobs()
            world.database.engine.dispose()
            backup = fresh_database("backup", template=database_name(url))

            def restore() -> World:
                world.run_jobs()
                made = start(backup)
                opened.callback(made.database.close)
                return made

            return restore

        yield copy

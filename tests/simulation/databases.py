"""The databases of the simulated world: migrated once, brought back to the beginning for each history."""

from typing import Any

import psycopg
from sqlalchemy import Engine, event

from shared.database import Database, migrate
from tests.simulation.looks import Looks
from tests.simulation.rooms import PROCESSES, ROOMS
from tests.support.postgres import TestServer, database_name

# Each room's tables with rows, in an order in which they can be filled, and where its sequences are.
Saved = dict[str, tuple[list[tuple[str, bytes]], list[tuple[str, int]]]]


class Databases:
    """The databases, and each process's connections to them. writes: how often something was written in each room.

    Connections outlive the simulated processes: making one takes longer than a day of history, and no service keeps anything in a session
    beyond its transaction. What a process had open when it died is rolled back as it unwinds.
    """

    def __init__(self, server: TestServer) -> None:
        self._server = server
        self.urls: dict[str, str] = {}
        for name, room in ROOMS.items():
            self.urls[name] = server.fresh_database(name)
            database = Database(self.urls[name], pool=2)
            migrate(database, room.migrations)
            database.close()
        self.looks = Looks(self.urls)
        self.writes = dict.fromkeys(ROOMS, 0)
        self.engines = {name: self._engine(room) for name, room in PROCESSES.items()}

    def _engine(self, room: str) -> Engine:
        engine = Database(self.urls[room], pool=3).engine
        writes = self.writes

        class Counting(psycopg.Cursor[Any]):
            """Counts what changes rows, by SQLAlchemy or past it."""

            def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
                done = super().execute(query, *args, **kwargs)
                if self.rowcount > 0 and self.statusmessage and not self.statusmessage.startswith("SELECT"):
                    writes[room] += 1
                return done

            def executemany(self, *args: Any, **kwargs: Any) -> None:
                super().executemany(*args, **kwargs)
                writes[room] += 1

        event.listen(engine, "connect", lambda made, _: setattr(made, "cursor_factory", Counting))
        return engine

    def back_up(self, *rooms: str) -> dict[str, str]:
        """Copies of rooms' databases as they are now, by room. No process may run."""
        self._let_go()
        copies = {
            room: self._server.fresh_database(f"{room}_backup", template=database_name(self.urls[room]))
            for room in rooms
        }
        self.looks = Looks(self.urls)
        return copies

    def put_back(self, copies: dict[str, str]) -> None:
        """Puts copies in the place of the databases they were made of. No process may run."""
        self._let_go()
        self.urls.update(copies)
        self.looks = Looks(self.urls)
        self.engines = {name: self._engine(room) for name, room in PROCESSES.items()}

    def _let_go(self) -> None:
        self.looks.close()
        for engine in self.engines.values():
            engine.dispose()

    def save(self) -> Saved:
        """All rows as they are now, but those in days' partitions."""
        return {
            name: (
                [
                    (table.name, self.looks.copy_out(name, table.name))
                    for table in room.metadata.sorted_tables
                    if not table.dialect_options["postgresql"]["partition_by"]
                    and self.looks.rows(name, f"SELECT 1 FROM {table.name} LIMIT 1")
                ],
                self.looks.rows(
                    name,
                    "SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL",
                ),
            )
            for name, room in ROOMS.items()
        }

    def restore(self, saved: Saved) -> None:
        """Empties all tables, forgets the days' partitions, and puts back what was saved."""
        for name, (tables, sequences) in saved.items():
            self.clear(name)
            for table, rows in tables:
                self.looks.copy_in(name, table, rows)
            self.looks.run(name, *(f"SELECT setval('{sequence}', {last})" for sequence, last in sequences))

    def clear(self, name: str) -> None:
        """Empties a room's tables and forgets the days' partitions."""
        days = self.looks.rows(
            name,
            "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid AND relkind = 'r'",
        )
        used = self.looks.rows(
            name,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
            "AND NOT relispartition AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0 ORDER BY relname",
        )
        self.looks.run(name, *(f"DROP TABLE {day}" for (day,) in days))
        if used:
            self.looks.run(name, f"TRUNCATE {', '.join(table for (table,) in used)} RESTART IDENTITY CASCADE")

    def close(self) -> None:
        """Gives all connections back."""
        self._let_go()

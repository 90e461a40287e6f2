"""PostgreSQL servers that a test keeps copies of: base backups, a WAL archive, standbys, restores."""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from deploy.local import postgres_programs as programs
from deploy.local import throwaway
from deploy.local.ports import free_ports
from deploy.local.postgres import SUPERUSER, Postgres
from services.access_control.store import metadata as _  # noqa: F401 - so that migrations find their tables
from shared.database import Database, migrate
from tests.support.postgres import place

_PREFIX = "kept-test-postgres-"
_PATIENCE = 30.0


class CopiedServer:
    """A server with one database of access control. archive: where its WAL is archived while `archiving` exists."""

    def __init__(self, home: Path, migrations: Path) -> None:
        self.home = home
        self.archive, self.archiving = home / "archive", home / "archiving"
        self.archive.mkdir()
        programs.owner().take(self.archive)
        programs.owner().reach(self.archive)
        self._password = secrets.token_urlsafe(16)
        self._copies: list[Postgres] = []
        self.postgres = Postgres(
            home / "data", port=free_ports(1)[0], password=self._password, log=home / "log", durable=False
        )
        self.postgres.start()
        with self.postgres.administration() as connection:
            connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
            command = f"test -e {self.archiving} && cp %p {self.archive}/%f"
            connection.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        self.postgres.stop()
        self.postgres.start()
        self.url = self.postgres.ensure_database("access_control", secrets.token_urlsafe(16))
        database = Database(self.url)
        migrate(database, migrations)
        database.close()

    def administer(self, statement: str, database: str = SUPERUSER) -> list[tuple[object, ...]]:
        """Runs a statement as superuser."""
        with self.postgres.administration(database) as connection:
            cursor = connection.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def archive_everything(self) -> None:
        """Archives all WAL that there is by now."""
        self.archiving.touch()
        [[name]] = self.administer("SELECT pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: (self.archive / str(name)).exists())

    def backup(self) -> Path:
        """A base backup of now."""
        target = self.home / f"backup-{len(list(self.home.iterdir()))}"
        self.postgres.base_backup(target)
        return target

    def start(self, backup: Path, **settings: str) -> str:
        """Starts a copy of a backup as a second server, with `settings`; returns the URL of its database."""
        copy = self.postgres.copy(self._prepared(backup, settings), free_ports(1)[0])
        self._copies.append(copy)
        copy.start()
        if "primary_conninfo" not in settings:
            wait_until(lambda: not _is_recovering(copy))
        return self.url.replace(f":{self.postgres.port}/", f":{copy.port}/")

    def start_restored(self, backup: Path, **settings: str) -> str:
        """Starts a copy that replays the archive, to its end unless `settings` say otherwise."""
        return self.start(
            backup, restore_command=f"cp {self.archive}/%f %p", recovery_target_action="promote", **settings
        )

    def start_standby(self, backup: Path) -> None:
        """Starts a copy as a streaming standby."""
        conninfo = f"host=127.0.0.1 port={self.postgres.port} user={SUPERUSER} password={self._password}"
        self.start(backup, primary_conninfo=conninfo)

    def stop(self) -> None:
        """Ends the server and its copies."""
        for server in (*self._copies, self.postgres):
            server.stop(at_once=True)

    def _prepared(self, backup: Path, settings: dict[str, str]) -> Path:
        target = backup.with_name(f"{backup.name}-copy-{len(self._copies)}")
        shutil.copytree(backup, target)
        lines = [f"{name} = '{value}'\n" for name, value in ({"archive_mode": "off"} | settings).items()]
        with target.joinpath("postgresql.auto.conf").open("a") as configuration:
            configuration.writelines(lines)
        if settings:
            kind = "standby" if "primary_conninfo" in settings else "recovery"
            target.joinpath(f"{kind}.signal").touch()
        for path in (target, *target.rglob("*")):
            programs.owner().take(path)
        return target


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


@contextmanager
def copied_server(migrations: Path) -> Iterator[CopiedServer]:
    """A server as long as the block runs."""
    home = throwaway.make(_PREFIX, place())
    server = None
    try:
        server = CopiedServer(home, migrations)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _is_recovering(server: Postgres) -> bool:
    try:
        with server.administration() as connection:
            row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
            return row is None or bool(row[0])
    except psycopg.OperationalError:  # between recovery and service
        return True

"""The embedded PostgreSQL of the local stack: one server, one database and one role a service.

No connection is trusted: every one, the superuser's too, is by password (SCRAM-SHA-256, RFC 7677) over TCP on
127.0.0.1; there is no Unix socket. A service's role owns its own database and may not connect to another.
Commits are durable as in production. The server writes no statement, parameter, row or key into its log:
PostgreSQL's errors quote data in their details, and the log must hold none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from deploy.local import ports, processes
from deploy.local import postgres_programs as programs
from deploy.local.errors import DiskFull, LocalStackError, PartFailed, speaks_of_a_full_disk

SUPERUSER = "postgres"

# Five services with up to 24 connections each (thread pool and a few loops), administration, a base backup.
_MAX_CONNECTIONS = 140

# From this version on PostgreSQL knows the letters of Unicode by itself.
_BUILTIN_LOCALES = 17

# Keeps data out of the log: no statement beside an error, no DETAIL ("Key (…)=(…) exists", "Failing row contains …"),
# no CONTEXT (COPY quotes the line), no parameters.
QUIET_LOG = {
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
}
_SETTINGS = {
    "listen_addresses": f"'{ports.LOOPBACK}'",
    "unix_socket_directories": "''",
    "password_encryption": "scram-sha-256",
    "max_connections": str(_MAX_CONNECTIONS),
    # Day partitions times their advisory and relation locks go beyond the default of 64 a transaction.
    "max_locks_per_transaction": "128",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "timezone": "UTC",
    "log_timezone": "UTC",
    **QUIET_LOG,
    "log_checkpoints": "off",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
_VOLATILE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

# From this version on a server says how often SCRAM hashes a password. Tests connect thousands of times, with passwords of 128 random bits,
# which need no more than once.
_SCRAM_ITERATIONS = 16

_ACCESS = f"""# Written at every start. Passwords everywhere, nothing is trusted.
host all all {ports.LOOPBACK}/32 scram-sha-256
host replication {SUPERUSER} {ports.LOOPBACK}/32 scram-sha-256
"""


class Postgres:
    """One PostgreSQL server on 127.0.0.1, living in one data directory."""

    def __init__(self, data: Path, *, port: int, password: str, log: Path, durable: bool = True) -> None:
        """`data` need not exist yet; `password` is the superuser's; `log` takes what the server prints.

        `durable=False` gives up surviving a crash of the machine: for servers of tests alone.
        """
        self.data = data.absolute()
        self.port = port
        self.log = log.absolute()
        self._password = password
        self._durable = durable

    def __repr__(self) -> str:
        return f"Postgres({self.data}, port={self.port})"

    def start(self) -> None:
        """Make the data directory if there is none, start the server, return when it answers; no-op while
        it runs.

        Raises PortInUse, DiskFull, or PartFailed with the end of the server's log.
        """
        if self.is_running():
            return
        ports.require_free("PostgreSQL", self.port)
        if not self.data.joinpath("PG_VERSION").exists():
            self._initialize()
        self._write("kept.conf", "".join(f"{name} = {value}\n" for name, value in self._settings().items()))
        self._write("pg_hba.conf", _ACCESS)
        self._forget_recycled_pid()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab", opener=_private) as output:
            try:
                programs.run("pg_ctl", "start", "-s", "-w", "-t", "60", "-D", str(self.data), output=output)
            except programs.ProgramFailed:
                self.stop()
                raise self._explained() from None

    def stop(self, *, at_once: bool = False) -> None:
        """End the server, disconnecting who is connected (a "fast" shutdown); no-op if it does not run. at_once: without writing down
        what is only in its log yet ("immediate"), for data that nobody will want."""
        process = self.process()
        if process is None:
            return
        for mode, patience in (() if at_once else (("fast", 30),)) + (("immediate", 10),):
            with suppress(programs.ProgramFailed):
                programs.run(
                    "pg_ctl", "stop", "-s", "-w", "-t", str(patience), "-m", mode, "-D", str(self.data)
                )
            if not process.is_running():
                return
        processes.end([process], patience=5.0)

    def is_running(self) -> bool:
        """True while this data directory has a live server."""
        return self.process() is not None

    def process(self) -> processes.Process | None:
        """The server of this data directory, by its pid file, if that process is really ours."""
        pid = self._recorded_pid()
        if pid is None or str(self.data) not in processes.command_line(pid):
            return None
        return processes.Process.of(pid)

    def url(self, database: str, role: str, password: str) -> str:
        """The SQLAlchemy URL (psycopg 3) of a database, password included: for files of mode 0600 only."""
        who = f"{quote(role)}:{quote(password, safe='')}"
        return f"postgresql+psycopg://{who}@{ports.LOOPBACK}:{self.port}/{quote(database)}"

    @contextmanager
    def administration(self, database: str = SUPERUSER) -> Iterator[psycopg.Connection]:
        """A superuser's connection in autocommit mode."""
        connection = psycopg.connect(
            host=ports.LOOPBACK,
            port=self.port,
            user=SUPERUSER,
            password=self._password,
            dbname=database,
            autocommit=True,
        )
        try:
            yield connection
        finally:
            connection.close()

    def ensure_database(self, name: str, password: str) -> str:
        """Make a role and a database of its own, both called `name`; returns the database's URL. Idempotent.

        The role may do anything inside its database and cannot connect to any other.
        """
        role = sql.Identifier(name)
        with self.administration() as connection:
            # The server is given a verifier: the password reaches neither its memory, nor its log, nor its
            # WAL.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            ).decode()
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            connection.execute(
                sql.SQL(
                    "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}"
                ).format(sql.SQL("ALTER" if known else "CREATE"), role, sql.Literal(verifier))
            )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
            for database in (name, SUPERUSER, "template1"):
                connection.execute(
                    sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
                )
        return self.url(name, name, password)

    def drop_database(self, name: str) -> None:
        """Remove a database that `ensure_database` made, and its role, disconnecting whoever is connected."""
        with self.administration() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    def base_backup(self, target: Path) -> None:
        """A consistent copy of the whole running server, WAL included, into `target` (made if missing)."""
        target = target.absolute()
        self._make_directory(target)
        try:
            programs.run(
                "pg_basebackup", "-X", "stream", "--checkpoint=fast", "--no-password",
                "-h", ports.LOOPBACK, "-p", str(self.port), "-U", SUPERUSER, "-D", str(target),
                environment={"PGPASSWORD": self._password},
            )  # fmt: skip
        except programs.ProgramFailed as failed:
            shutil.rmtree(target, ignore_errors=True)
            last = failed.output.splitlines()[-5:]
            raise PartFailed("The copy of PostgreSQL", "failed", str(self.log), last) from None

    def start_copy(self, target: Path, port: int) -> Postgres:
        """Start what `base_backup` left in `target` as a second server, with the same roles and passwords."""
        copy = self.copy(target, port)
        copy.start()
        return copy

    def copy(self, target: Path, port: int) -> Postgres:
        """The server that `start_copy` starts, running or not."""
        log = self.log.with_name(f"{self.log.stem}-copy-{port}{self.log.suffix}")
        return Postgres(target, port=port, password=self._password, log=log, durable=self._durable)

    def log_tail(self, lines: int = 8) -> list[str]:
        """The last lines of the server's log, which never hold data (see the module's text)."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _settings(self) -> dict[str, str]:
        return _SETTINGS | {"port": str(self.port)} | (_DURABLE if self._durable else _VOLATILE)

    def _initialize(self) -> None:
        self._make_directory(self.data)
        arguments = [
            f"--username={SUPERUSER}", "--no-instructions",
            "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
            # The same order of strings on every machine, whatever locales it has.
            "--encoding=UTF8", "--locale=C",
        ]  # fmt: skip
        if programs.version() >= _BUILTIN_LOCALES:
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self._durable:
            arguments.append("--no-sync")
            if programs.version() >= _SCRAM_ITERATIONS:
                arguments.append("--set=scram_iterations=1")
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent, prefix=".superuser-") as secret:
            programs.owner().take(Path(secret.name))
            secret.write(self._password + "\n")
            secret.flush()
            try:
                programs.run("initdb", f"--pwfile={secret.name}", *arguments, "-D", str(self.data))
            except programs.ProgramFailed as failed:
                shutil.rmtree(self.data, ignore_errors=True)
                last = failed.output.splitlines()[-5:]
                raise PartFailed(
                    "PostgreSQL", "could not make its data directory", str(self.data), last
                ) from None
            except LocalStackError:
                shutil.rmtree(self.data, ignore_errors=True)
                raise
        with self.data.joinpath("postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude = 'kept.conf'\n")

    def _make_directory(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        programs.owner().take(directory)
        programs.owner().reach(directory)

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        programs.owner().take(path)

    def _recorded_pid(self) -> int | None:
        try:
            return int(self.data.joinpath("postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None

    def _forget_recycled_pid(self) -> None:
        """Remove the pid file of a killed server if another process has its pid by now: PostgreSQL would
        not start.

        In every other case the file stays: with it PostgreSQL sees whether a process of the old server
        still writes.
        """
        pid = self._recorded_pid()
        if pid is not None and processes.Process.of(pid) is not None and self.process() is None:
            self.data.joinpath("postmaster.pid").unlink(missing_ok=True)

    def _explained(self) -> LocalStackError:
        tail = self.log_tail()
        if speaks_of_a_full_disk("\n".join(tail)):
            return DiskFull(str(self.data))
        ports.require_free("PostgreSQL", self.port)  # somebody was quicker than we
        return PartFailed("PostgreSQL", "did not start", str(self.log), tail)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

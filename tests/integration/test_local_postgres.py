"""The embedded PostgreSQL: separate roles, no trust, a silent log, copies that open."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from deploy.local import ports
from deploy.local import postgres_programs as programs
from deploy.local.errors import DiskFull, LocalStackError, PartFailed, PortInUse
from deploy.local.postgres import SUPERUSER, Postgres
from deploy.local.processes import Process


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = _server(tmp_path_factory.mktemp("postgres"), durable=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    """A server that has been started once."""
    server = _server(tmp_path_factory.mktemp("initialized"))
    server.start()
    server.stop()
    return server


@pytest.fixture
def stopped(initialized: Postgres) -> Iterator[Postgres]:
    """A server that does not run, and has data."""
    yield initialized
    initialized.stop()


def _server(directory: Path, *, durable: bool = False) -> Postgres:
    [port] = ports.free_ports(1)
    password, log = secrets.token_urlsafe(16), directory / "postgres.log"
    return Postgres(directory / "data", port=port, password=password, log=log, durable=durable)


def _connect(url: str, **other: object) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), **other)  # type: ignore[arg-type]


def test_a_role_owns_its_database_and_enters_no_other(postgres: Postgres) -> None:
    mine = postgres.ensure_database("settings", "one")
    postgres.ensure_database("logging", "two")
    with _connect(mine) as connection:
        connection.execute("CREATE TABLE t (x int)")
        connection.execute("CREATE TEMPORARY TABLE u (x int)")
    for other in ("logging", SUPERUSER, "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            _connect(mine.rpartition("/")[0] + "/" + other)


def test_a_role_cannot_make_roles_or_databases_or_read_verifiers(postgres: Postgres) -> None:
    mine = postgres.ensure_database("settings", "one")
    with _connect(mine, autocommit=True) as connection:
        for statement in (
            "CREATE ROLE r",
            "CREATE DATABASE d",
            "SELECT * FROM pg_authid",
            "COPY pg_class TO PROGRAM 'true'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.parametrize("password", ["", "wrong"])
@pytest.mark.parametrize("role", ["settings", SUPERUSER])
def test_nobody_connects_without_the_password(postgres: Postgres, role: str, password: str) -> None:
    postgres.ensure_database("settings", "one")
    with pytest.raises(psycopg.OperationalError, match="password"):
        _connect(postgres.url(role, role, password), passfile="/nonexistent")


def test_the_rules_trust_no_kind_of_connection(postgres: Postgres) -> None:
    with postgres.administration() as connection:
        methods = {method for (method,) in connection.execute("SELECT auth_method FROM pg_hba_file_rules")}
        [sockets] = connection.execute("SHOW unix_socket_directories").fetchone() or [None]
    assert methods == {"scram-sha-256"}
    assert sockets == ""


def test_making_a_database_again_changes_the_password_and_keeps_the_rows(postgres: Postgres) -> None:
    with _connect(postgres.ensure_database("retention", "old")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    with _connect(postgres.ensure_database("retention", "new")) as connection:
        assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)
    with pytest.raises(psycopg.OperationalError):
        _connect(postgres.url("retention", "retention", "old"))


def test_the_server_is_of_the_programs_that_are_named(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with postgres.administration() as connection:
        assert connection.info.server_version // 10_000 == programs.version()
        [place] = connection.execute(
            "SELECT datlocprovider FROM pg_database WHERE datname = 'postgres'"
        ).fetchone() or [None]
    assert place == ("b" if programs.version() >= 17 else "c"), "strings are in one order on every machine"
    monkeypatch.setenv("KEPT_POSTGRES", str(tmp_path))
    with pytest.raises(LocalStackError, match=r"does not run here: KEPT_POSTGRES"):
        programs.directory.__wrapped__()


def test_commits_are_durable(postgres: Postgres) -> None:
    with postgres.administration() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_errors_put_no_data_into_the_log(postgres: Postgres) -> None:
    marker = secrets.token_hex(8)
    with _connect(postgres.ensure_database("logging", "two"), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS r (k text PRIMARY KEY, n int CHECK (n > 0))")
        for _ in range(2):
            with suppress(psycopg.errors.UniqueViolation):
                connection.execute("INSERT INTO r VALUES (%s, 1)", [marker])
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO r VALUES (%s, -1)", [marker + "2"])
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute(f"SELECT '{marker}' FROM missing")
    log = postgres.log.read_text()
    assert "duplicate key value" in log, "the errors themselves are logged"
    assert marker not in log


def test_a_copy_taken_while_the_server_runs_starts_beside_it(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.ensure_database("access_control", "three")
    with _connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS epochs AS SELECT 1 AS day")
    postgres.base_backup(tmp_path / "copy")
    with _connect(url) as connection:
        connection.execute("DELETE FROM epochs")
    [port] = ports.free_ports(1)
    copy = postgres.start_copy(tmp_path / "copy", port)
    try:
        with _connect(copy.url("access_control", "access_control", "three")) as connection:
            assert connection.execute("SELECT count(*) FROM epochs").fetchone() == (1,)
        with _connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM epochs").fetchone() == (0,)
    finally:
        copy.stop()
    assert not copy.is_running()
    assert postgres.is_running()


def test_passwords_are_on_no_command_line_and_in_no_file_of_the_server(tmp_path: Path) -> None:
    server = _server(tmp_path)
    server._password = "marker-" + secrets.token_hex(8)
    server.start()
    try:
        server.ensure_database("settings", server._password + "-role")
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert server._password.encode() not in process.read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert server._password.encode() not in file.read_bytes(), file
    finally:
        server.stop()


def test_stopping_ends_every_process_and_a_second_start_finds_the_data(stopped: Postgres) -> None:
    server = stopped
    server.start()
    with server.administration() as connection:
        connection.execute("CREATE TABLE still_here ()")
        backend = Process.of(connection.info.backend_pid)
    assert backend is not None
    server.stop()
    assert not server.is_running()
    assert not backend.is_running()
    assert ports.is_free(server.port)
    server.start()
    with server.administration() as connection:
        connection.execute("SELECT FROM still_here")


def test_a_port_in_use_is_named_with_its_process_and_nothing_starts(tmp_path: Path) -> None:
    server = _server(tmp_path)
    expected = rf"Port {server.port}, which PostgreSQL needs, is in use by pid \d+ \(.*python"
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(PortInUse, match=expected):
        server.start()
    assert not server.data.exists()


def test_a_server_that_cannot_start_says_why(stopped: Postgres) -> None:
    version = stopped.data / "PG_VERSION"
    right = version.read_text()
    version.write_text("9\n")
    try:
        with pytest.raises(PartFailed, match=r"PostgreSQL did not start: see .*postgres.log") as failure:
            stopped.start()
    finally:
        version.write_text(right)
    assert "database files are incompatible with server" in str(failure.value)
    assert not stopped.is_running()


@pytest.mark.parametrize("output", ["x: No space left on device", "HINT:  Check free disk space.\nAborted"])
def test_a_full_disk_is_said_and_leaves_no_half_made_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    server = _server(tmp_path)
    program = tmp_path / "initdb"
    program.write_text(f"#!/bin/sh\necho '{output}' >&2\nexit 1\n")
    program.chmod(0o755)
    programs.owner().reach(program)
    monkeypatch.setattr(programs, "directory", lambda: tmp_path)
    with pytest.raises(DiskFull):
        server.start()
    assert not server.data.exists()


def test_the_pid_of_a_killed_server_given_to_another_process_is_left_alone(stopped: Postgres) -> None:
    bystander = Process.of(1)
    stopped.data.joinpath("postmaster.pid").write_text("1\n")
    assert not stopped.is_running()
    stopped.stop()
    stopped.start()
    assert stopped.is_running()
    assert bystander is None or bystander.is_running()

"""The stack and its processes: all or nothing, found again, ended by what they are and not by a number."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest

from deploy.local import ports, processes
from deploy.local.errors import DiskFull, LocalStackError, PartFailed, PortInUse
from deploy.local.layout import SERVICES, Layout, Ports
from deploy.local.postgres import Postgres
from deploy.local.processes import Process
from deploy.local.service_process import Program
from deploy.local.stack import Stack

# Stands in for a service: says that it is healthy by a file, and waits.
_FAKE = """
import os, pathlib, sys, time
print("environment:", " ".join(sorted(os.environ)), flush=True)
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(600)
"""


class Fakes:
    """Two fake services, "one" and "two", and a stack that takes them for its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = Layout.create(directory / "stack", Ports.free())
        self.codes = {"one": _FAKE, "two": _FAKE}

    def stack(self, *, durable: bool = False) -> Stack:
        """As another command would open it."""
        return Stack(self.layout, [self.program(name) for name in self.codes], durable=durable)

    def process(self, name: str) -> Process:
        process = Process.of(int(self._sign(name).read_text()))
        assert process is not None
        return process

    def forget(self, name: str) -> None:
        """As if it had never been healthy."""
        self._sign(name).unlink()

    def program(self, name: str) -> Program:
        sign = str(self._sign(name))
        return Program(name, ["-c", self.codes[name], sign], partial(os.path.exists, sign))

    def _sign(self, name: str) -> Path:
        return self.directory / f"{name}.healthy"


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    made = Fakes(tmp_path)
    yield made
    if made.layout.directory.exists():
        made.stack().stop()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One started stack for the tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of whoever starts the stack")
        stack = Fakes(tmp_path_factory.mktemp("running")).stack(durable=True)
        stack.start()
    yield stack
    stack.stop()


def _nothing_runs(fakes: Fakes) -> bool:
    mine = str(fakes.directory)
    lines = [
        processes.command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()
    ]
    return not any(mine in line for line in lines)


def test_a_stack_starts_is_found_and_ends(fakes: Fakes) -> None:
    steps: list[str] = []
    assert fakes.stack().start(steps.append)
    one, two = fakes.process("one"), fakes.process("two")
    assert one.is_running()
    assert two.is_running()
    assert any("PostgreSQL" in step for step in steps)

    assert not Stack(
        fakes.layout, [Program("one", [], lambda: True), Program("two", [], lambda: True)]
    ).start()
    assert one.is_running(), "a second start leaves alone what runs"

    statuses = {status.name: status for status in fakes.stack().status()}
    assert statuses.keys() == {"postgres", "one", "two"}
    assert statuses["one"].pid == one.pid
    assert statuses["one"].seconds is not None
    assert 0 < statuses["one"].seconds < 60

    assert fakes.stack().stop() == []
    assert not one.is_running()
    assert not two.is_running()
    assert _nothing_runs(fakes)
    assert fakes.stack().stop() == [], "ending what does not run is no error"
    fakes.stack().remove()
    assert not fakes.layout.directory.exists()


def test_each_service_has_a_database_and_configuration_of_its_own(running: Stack) -> None:
    stack = running
    for service in SERVICES:
        url = stack.database_url(service)
        assert url in stack.layout.configuration(service).read_text()
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT current_user, current_database()").fetchone() == (
                service,
                service,
            )


def test_a_part_that_ends_at_once_ends_the_start_and_everything_with_it(fakes: Fakes) -> None:
    fakes.codes["two"] = "raise SystemExit('two cannot: the disk is on fire')"
    with pytest.raises(PartFailed, match="two ended before it was healthy") as failure:
        fakes.stack().start()
    assert "the disk is on fire" in str(failure.value)
    assert str(fakes.layout.log("two")) in str(failure.value)
    assert _nothing_runs(fakes)


def test_an_interruption_ends_everything(fakes: Fakes) -> None:
    def interrupt(step: str) -> None:
        if step.startswith("waiting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fakes.stack().start(interrupt)
    assert _nothing_runs(fakes)


def test_a_port_in_use_is_named_and_nothing_is_started(fakes: Fakes) -> None:
    with (
        socket.create_server(("127.0.0.1", fakes.layout.ports["postgres"])),
        pytest.raises(PortInUse, match=f"which postgres needs, is in use by pid {os.getpid()}"),
    ):
        fakes.stack().start()
    assert not fakes.layout.database.exists()
    assert _nothing_runs(fakes)


def test_a_full_disk_is_said_and_nothing_is_started(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.stack._LEAST_ROOM", 2**62)
    with pytest.raises(DiskFull, match="is full: free at least 1 GB"):
        fakes.stack().start()
    assert not fakes.layout.database.exists()


def _full(path: Path, content: str | bytes) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stack_that_a_full_disk_kept_from_being_made_is_made_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "stack"
    monkeypatch.setattr("deploy.local.private_files.write", _full)
    with pytest.raises(DiskFull):
        Stack.open(directory, Ports.free())
    monkeypatch.undo()
    assert Stack.find(directory) is None
    Stack.open(directory, Ports.free())
    assert Stack.find(directory) is not None


def test_what_is_no_stack_is_left_alone_and_the_way_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear")
    with pytest.raises(
        LocalStackError, match=r"something else than a stack.*--directory.*remove it if nothing of it runs\.$"
    ):
        Stack.open(tmp_path, Ports.free())
    assert (tmp_path / "mine" / "letter.txt").read_text() == "Dear"


def test_a_disk_that_fills_up_meanwhile_ends_everything(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = fakes.stack()
    stack.layout.secret("settings")
    monkeypatch.setattr("deploy.local.private_files.write", _full)
    with pytest.raises(DiskFull):
        stack.start()
    monkeypatch.undo()
    assert _nothing_runs(fakes)


def test_what_died_is_started_again_though_another_process_has_its_pid(fakes: Fakes) -> None:
    fakes.stack().start()
    one, two = fakes.process("one"), fakes.process("two")
    processes.end([one], patience=10)
    fakes.forget("one")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = fakes.layout.running
        record.write_text(record.read_text().replace(f'"pid": {one.pid},', f'"pid": {bystander.pid},'))
        assert fakes.stack().status()[1].pid is None
        fakes.codes["two"] = "raise SystemExit('two was started again')"
        assert fakes.stack().start()
        assert fakes.process("one") != one
        assert two.is_running(), "what lives is left alone"
        record.write_text(record.read_text().replace(f'"pid": {two.pid},', f'"pid": {bystander.pid},'))
        fakes.stack().stop()
        assert bystander.poll() is None
    finally:
        processes.end([two], patience=10)
        bystander.kill()
        bystander.wait()


def test_a_part_that_ignores_sigterm_is_killed_and_named(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.stack._PATIENCE_TO_STOP", 0.3)
    fakes.codes["two"] = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _FAKE
    fakes.stack().start()
    assert fakes.stack().stop() == ["two"]
    assert _nothing_runs(fakes)


def test_processes_get_no_more_of_the_environment_than_they_need(running: Stack) -> None:
    log = running.layout.log("one")
    assert "environment: LC_ALL" in log.read_text()
    assert "AWS_SECRET_ACCESS_KEY" not in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_no_secret_of_the_stack_is_on_a_command_line(running: Stack) -> None:
    stack = running
    secrets = [stack.layout.secret(name) for name in ("postgres", *SERVICES)] + [stack.password("olga")]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            line = processes.command_line(int(entry.name))
            assert not any(secret in line for secret in secrets)


def test_the_files_of_a_stack_include_its_databases_wal_and_logs(running: Stack) -> None:
    stack = running
    files = stack.files()
    assert any(path.parent.name == "pg_wal" for path in files)
    assert {stack.layout.log("one"), stack.layout.log("postgres"), stack.layout.passwords} <= set(files)
    marker = b"a marker that only the database holds"
    with psycopg.connect(stack.database_url("logging").replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE t AS SELECT %s::text AS x", [marker.decode()])
    assert any(marker in path.read_bytes() for path in stack.files())


def test_a_backup_is_served_beside_the_stack_and_ends_with_it(fakes: Fakes) -> None:
    stack = fakes.stack()
    stack.start()
    backup = stack.back_up_databases("before")
    with stack.serving_copy(backup) as copy:
        assert stack.layout.secret("settings") not in copy.url("settings")
        with psycopg.connect(
            copy.url("settings").replace("+psycopg", ""), password=copy.password("settings")["PGPASSWORD"]
        ) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("settings",)
        fakes.stack().stop()
        assert _nothing_runs(fakes)
    with pytest.raises(LocalStackError, match="a copy called before already"):
        stack.back_up_databases("before")


def test_travel_moves_the_clock_of_the_stack(running: Stack) -> None:
    running.travel(timedelta(days=31))
    assert Stack(running.layout).clock.offset() == timedelta(days=31)


def test_a_stack_that_has_data_keeps_its_ports(running: Stack) -> None:
    directory = running.layout.directory
    with pytest.raises(LocalStackError, match="was made on ports from"):
        Stack.open(directory, Ports.block(7400))
    assert Stack.open(directory).layout.ports == running.layout.ports


def test_a_command_that_is_ended_ends_what_it_had_started(tmp_path: Path) -> None:
    """SIGTERM to `up` while it starts: a real command, whose parts cannot be healthy so soon."""
    [port] = ports.free_ports(1)
    directory = tmp_path / "stack"
    command = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "up", "--directory", str(directory), "--base-port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    log = directory / "logs" / "postgres.log"
    assert processes.wait_until(
        lambda: command.poll() is not None or (log.exists() and "ready to accept" in log.read_text()),
        patience=30,
    )
    command.send_signal(signal.SIGTERM)
    output, _ = command.communicate(timeout=60)
    assert command.returncode in (130, 1), output.decode()
    server = Postgres(directory / "postgres", port=0, password="", log=log)
    assert not server.is_running()

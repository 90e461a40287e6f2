"""A process is known by its start, not by its pid; what does not end is killed; what ended is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.local import processes
from deploy.local.processes import Process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    started = _python("import time; print(flush=True); time.sleep(600)")
    yield started
    started.kill()
    started.wait()


def _python(code: str) -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert started.stdout is not None
    with started.stdout:
        started.stdout.readline()  # it has got as far as printing
    return started


def test_a_process_with_the_pid_of_another_is_neither_running_nor_ended(
    child: subprocess.Popen[bytes],
) -> None:
    stale = Process(child.pid, "an earlier start")
    assert not stale.is_running()
    assert processes.end([stale], patience=0.1) == []
    assert child.poll() is None


def test_a_process_that_heeds_sigterm_is_not_killed(child: subprocess.Popen[bytes]) -> None:
    process = Process.of(child.pid)
    assert process is not None
    assert process.is_running()
    assert processes.end([process], patience=10) == []
    assert not process.is_running(), "a zombie does not run"


def test_a_process_that_ignores_sigterm_is_killed_and_named() -> None:
    deaf = _python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    )
    process = Process.of(deaf.pid)
    assert process is not None
    assert processes.end([process], patience=0.2) == [process]
    assert deaf.wait() == -9


def test_nobody_has_an_impossible_pid() -> None:
    assert Process.of(2**22 + 5) is None
    assert processes.command_line(2**22 + 5) == ""
    Process(2**22 + 5, "x").send(9)


def test_the_command_line_of_this_process_names_its_interpreter() -> None:
    assert "python" in processes.command_line(os.getpid())

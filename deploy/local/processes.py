"""Processes of the local stack: who they are, whether they still live, and how they are ended.

A pid alone names nobody: the system hands it out again. Each process is therefore remembered with its
*start mark*, which no later process with the same pid can have.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that can be found again: its pid, and the mark of its start."""

    pid: int
    start_mark: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has `pid` now, or None if none has."""
        mark = start_mark(pid)
        return None if mark is None else cls(pid, mark)

    def is_running(self) -> bool:
        """True while this very process lives (a zombie does not)."""
        return start_mark(self.pid) == self.start_mark

    def send(self, signal_number: int) -> None:
        """Send a signal to this very process; nothing happens if it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            if self.is_running():
                _kill(self.pid, signal_number)
            return
        try:
            # The handle pins the pid: what is checked now is what gets the signal.
            if self.is_running():
                signal.pidfd_send_signal(handle, signal_number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def start_mark(pid: int) -> str | None:
    """What tells this process from every other that had or will have its pid; None if no such process lives.

    On Linux: the boot and the clock ticks since it (proc_pid_stat(5), field 22), which no change of the
    clock moves. Elsewhere: the start time that ps prints.
    """
    if _PROC.joinpath("self/stat").exists():
        try:
            text = _PROC.joinpath(str(pid), "stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()  # the command before ")" may hold blanks and parentheses
        if fields[0] in "ZX":
            return None
        return f"{_boot_id()}:{fields[19]}"
    return _ps("lstart=", pid) or None


def command_line(pid: int) -> str:
    """The arguments of a process, joined by blanks; empty if it is gone or not ours to see."""
    if not _PROC.joinpath("self/stat").exists():
        return _ps("command=", pid)
    try:
        written = _PROC.joinpath(str(pid), "cmdline").read_bytes()
    except OSError:
        return ""
    return written.replace(b"\0", b" ").decode(errors="replace").strip()


def end(processes: Sequence[Process], *, patience: float) -> list[Process]:
    """SIGTERM to all, `patience` seconds to end, then SIGKILL; returns those that were killed."""
    for process in processes:
        process.send(signal.SIGTERM)
    stubborn = _outlast(processes, patience)
    for process in stubborn:
        process.send(signal.SIGKILL)
    _outlast(stubborn, 5.0)
    return stubborn


def wait_until(condition: Callable[[], bool], *, patience: float) -> bool:
    """Ask until the condition holds, at growing intervals (5 to 100 ms), for at most `patience` seconds."""
    pause = 0.005
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def _outlast(processes: Sequence[Process], patience: float) -> list[Process]:
    wait_until(lambda: not any(process.is_running() for process in processes), patience=patience)
    return [process for process in processes if process.is_running()]


def _kill(pid: int, signal_number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def _ps(column: str, pid: int) -> str:
    shown = subprocess.run(["ps", "-o", column, "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def _boot_id() -> str:
    return _PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()

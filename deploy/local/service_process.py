"""Starts one Python process of the stack, and waits until several of them are healthy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalStackError, PartFailed
from deploy.local.processes import Process

ROOT = Path(__file__).resolve().parents[2]

# As little as possible: nothing of the caller's environment, its secrets included, reaches a service.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "2",  # threads otherwise take 64 MiB of address space each (mallopt(3))
}


@dataclass(frozen=True)
class Program:
    """A part of the stack that is started as `python ARGUMENTS`, and the question whether it is healthy."""

    name: str
    arguments: Sequence[str]
    is_healthy: Callable[[], bool]


def spawn(program: Program, log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start it in a session of its own, so that Ctrl-C at the terminal ends the command and not the stack. `environment` is laid over what
    every part is started with.

    Never put a secret into the arguments: every user of the machine can read them.
    """
    with open(log, "ab", opener=_private) as output:
        child = subprocess.Popen(
            [sys.executable, *program.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=ENVIRONMENT | dict(environment or {}),
            cwd=ROOT,
            start_new_session=True,
            umask=0o077,
        )
    _children[child.pid] = child
    process = Process.of(child.pid)
    if process is None:
        raise PartFailed(program.name, "ended at once", str(log), tail(log))
    return process


def run(
    arguments: Sequence[str], *, patience: float = 60.0, environment: Mapping[str, str] | None = None
) -> str:
    """Run `python ARGUMENTS` to its end; what it printed, or LocalStackError with its last line."""
    result = subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | dict(environment or {}),
        cwd=ROOT,
        timeout=patience,
        umask=0o077,
        check=False,
    )
    if result.returncode != 0:
        last = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise LocalStackError(f"python {' '.join(arguments[:3])} ended with {result.returncode}: {last}")
    return result.stdout


def wait_until_healthy(
    waiting: Mapping[str, tuple[Program, Process, float]],
    *,
    patience: float,
    log: Callable[[str], Path],
    healthy: Callable[[str, float], None],
) -> None:
    """Wait for all of them together; `healthy(name, seconds since its start)` is called as each one gets
    there.

    `waiting` gives for each name the program, its process, and when it started (time.monotonic()). Raises
    PartFailed as soon as one has ended, or when one is not healthy `patience` seconds after its start.
    """
    left = dict(waiting)
    pause = 0.02
    while left:
        for name, (program, process, started) in list(left.items()):
            if not process.is_running():
                raise PartFailed(name, "ended before it was healthy", str(log(name)), tail(log(name)))
            if program.is_healthy():
                healthy(name, time.monotonic() - started)
                del left[name]
            elif time.monotonic() - started > patience:
                raise PartFailed(
                    name, f"was not healthy after {patience:.0f} s", str(log(name)), tail(log(name))
                )
        if left:
            time.sleep(pause)
            pause = min(pause * 1.3, 0.2)


def tail(log: Path, lines: int = 8) -> list[str]:
    """The last lines of a log. Services write no content, token or key into theirs."""
    try:
        return log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def forget_ended() -> None:
    """Collect the children of this process that have ended: until then the system keeps them as zombies."""
    for pid, child in list(_children.items()):
        with suppress(OSError):
            if child.poll() is not None:
                del _children[pid]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# Kept so that the objects are not collected while their processes live on.
_children: dict[int, subprocess.Popen[bytes]] = {}

"""TCP ports on 127.0.0.1: finding free ones, and saying who holds one that is not."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from deploy.local.errors import LocalStackError, PortInUse
from deploy.local.processes import command_line

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes ports for outgoing connections (32768 up): nobody gets one of these
# by chance. Each process begins somewhere else, so that stacks made at the same time do not meet, also while
# a part is started again and its port is free: at the golden section of the range for each process id, which
# keeps processes of neighbouring ids far apart (Knuth, The Art of Computer Programming 3, 6.4).
_FREE_RANGE = range(20_000, 32_000)
_STEP = 7_417
_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    """True if a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection of an earlier server that lingers in TIME_WAIT is not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def begin_of(pid: int) -> int:
    """Where in the range the process of this id begins to look."""
    return pid * _STEP % len(_FREE_RANGE)


def free_ports(count: int) -> list[int]:
    """`count` ports that are free now, none given twice. Nothing reserves them."""
    first = begin_of(os.getpid())
    chosen: list[int] = []
    for step in range(len(_FREE_RANGE)):
        port = _FREE_RANGE[(first + step) % len(_FREE_RANGE)]
        if len(chosen) == count:
            break
        if port not in _handed_out and is_free(port):
            chosen.append(port)
            _handed_out.add(port)
    if len(chosen) < count:
        raise LocalStackError(
            f"Fewer than {count} ports between 20000 and 32000 are free: end what holds them."
        )
    return chosen


def require_free(part: str, port: int) -> None:
    """Raise PortInUse, naming the process that holds it where that can be seen, unless the port is free."""
    if not is_free(port):
        raise PortInUse(part, port, holder(port))


def holder(port: int) -> str | None:
    """The process that listens on this port, as "pid 123 (its command)", where the system lets us see it."""
    pid = _listener(port)
    if pid is None:
        return None
    command = command_line(pid)
    return f"pid {pid} ({_shortened(command)})" if command else f"pid {pid}"


def _listener(port: int) -> int | None:
    inodes = _listening_inodes(port)
    if inodes is None:
        question = ["lsof", "-nP", "-t", f"-iTCP:{port}", "-sTCP:LISTEN"]
        try:
            first = subprocess.run(question, capture_output=True, text=True, check=False).stdout.split()
        except FileNotFoundError:
            return None
        return int(first[0]) if first else None
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            for descriptor in directory.joinpath("fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return int(directory.name)
        except OSError:
            continue  # ended meanwhile, or another user's
    return None


def _listening_inodes(port: int) -> set[str] | None:
    """Inodes of the sockets that listen on a port, by proc_net(5); None where there is no such table."""
    found: set[str] = set()
    seen = False
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        seen = True
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found if seen else None


def _shortened(command: str) -> str:
    return command if len(command) <= 80 else command[:77] + "..."

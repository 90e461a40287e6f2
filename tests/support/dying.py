"""A process that destroys keys and is killed (SIGKILL: no handler, no `finally`, no rollback of its own) at a point that the test chooses.

Points are all places between two steps: before and after every commit, every call of the key store, every change of a file that the key
store makes, and wherever custody itself calls `pause`.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from multiprocessing.connection import Connection
from typing import Any, Final

from services.access_control.config import KeyStoreChoice
from tests.support.clocks import ManualClock
from tests.unit.access_control.vault import Vault

# Processes are forked from a clean one that has everything imported, and neither threads nor channels.
_PROCESSES: Final = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])
_FILE_CHANGES: Final = ("open", "write", "pwrite", "fsync", "replace", "unlink")
_PATIENCE: Final = 60


@dataclass(frozen=True)
class Order:
    """What to destroy, in which vault, when."""

    url: str
    keys: KeyStoreChoice
    now: datetime
    due: frozenset[date]
    closed: frozenset[str]
    method: str
    arguments: tuple[object, ...]
    environment: tuple[tuple[str, str], ...] = ()


def destroy(order: Order, die_at: int) -> tuple[str, ...] | None:
    """Carries the order out in a process that is killed at point number `die_at`, from 1. Returns None when it was; the points that it
    passed when it ended before."""
    receiver, sender = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_carry_out, args=(order, die_at, sender), daemon=True)
    process.start()
    sender.close()
    process.join(_PATIENCE)
    if process.exitcode == 0:
        points: tuple[str, ...] = receiver.recv()
        return points
    assert process.exitcode == -signal.SIGKILL, process.exitcode
    return None


def _carry_out(order: Order, die_at: int, sender: Connection) -> None:
    points: list[str] = []

    def pause(point: str) -> None:
        points.append(point)
        if len(points) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.environ.update(order.environment)
    vault = Vault(order.url, order.keys, pause)
    vault.clock.step(order.now - ManualClock().now())
    vault.due, vault.closed = set(order.due), set(order.closed)
    for name in _FILE_CHANGES:
        setattr(os, name, _paused(name, getattr(os, name), pause))
    points.clear()
    getattr(vault.custody, order.method)(*order.arguments)
    sender.send(tuple(points))


def _paused(name: str, call: Callable[..., Any], pause: Callable[[str], None]) -> Callable[..., Any]:
    def paused(*arguments: Any, **named: Any) -> Any:
        if name != "open" or arguments[1] & os.O_CREAT:  # reading changes nothing
            pause(f"file {name}")
        return call(*arguments, **named)

    return paused

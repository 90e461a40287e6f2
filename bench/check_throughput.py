"""Decisions a second with 32 callers against empty calls with 32 callers, in turns: of the workforce, of one organization's members, and
of as many organizations' members. The callers are threads of two processes, so that no one interpreter is what is measured."""

import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Final

from bench.access_control import Call, Running, running
from bench.empty_server import CALLER
from bench.figures import Figure

_CALLERS: Final = 32
_PROCESSES: Final = 2
_KINDS: Final = ("empty", "staff", "one organization", "many organizations")


def measure(small: bool) -> Iterator[Figure]:
    """`check_throughput_ratio` (of the workforce by role, the longer way), and the same for customers' members."""
    seconds, rounds = (0.5, 3) if small else (1.5, 9)
    rates: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    with running(people=_CALLERS) as there, ExitStack() as stack:
        processes = [_Process(there, number) for number in range(_PROCESSES)]
        for process in processes:
            stack.callback(process.end)
        for round_ in range(rounds + 1):
            for kind in _KINDS:
                for process in processes:
                    process.begin(kind, seconds)
                calls = sum(process.calls() for process in processes)
                if round_ > 0:  # the first warms up
                    rates[kind].append(calls / seconds)
    empty = rates["empty"]
    meanings: Mapping[str, tuple[str, str]] = {
        "check_throughput_ratio": ("staff", "Checks of 32 people by role"),
        "check_throughput_one_ratio": ("one organization", "Checks of 32 members of one organization"),
        "check_throughput_many_ratio": ("many organizations", "Checks of members of 32 organizations"),
    }
    for name, (kind, meaning) in meanings.items():
        yield Figure(
            name,
            statistics.median(a / b for a, b in zip(rates[kind], empty, strict=True)),
            "ratio",
            True,
            f"{meaning}, entries durable, a second ÷ empty RPCs a second; {_CALLERS} callers in {_PROCESSES} processes, mTLS, in turns",
        )
    yield Figure(
        "check_per_s",
        statistics.median(rates["staff"]),
        "calls/s",
        True,
        f"beside {statistics.median(empty):,.0f} empty RPCs a second",
    )


class _Process:
    """A process with its share of the callers, that does as it is told."""

    def __init__(self, there: Running, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._told, told = context.Pipe()
        self._process = context.Process(target=_call, args=(told, there, number), daemon=True)
        self._process.start()
        self._told.recv()

    def begin(self, kind: str, seconds: float) -> None:
        """All its callers begin to call, one call after the other."""
        self._told.send((kind, seconds))

    def calls(self) -> int:
        """How many calls they made, once the time is over."""
        return int(self._told.recv())

    def end(self) -> None:
        """Ends the process."""
        self._told.send(None)
        self._process.join()


def _call(told: Connection, there: Running, number: int) -> None:
    with ExitStack() as stack:
        bare = stack.enter_context(there.channel(CALLER))
        channels = {name: stack.enter_context(there.channel(name)) for name in ("retention", "settings")}
        askers = {
            "staff": there.staff,
            "one organization": there.members_of_one,
            "many organizations": there.members_of_many,
        }
        calls: dict[str, list[Call]] = {
            kind: [there.check(channels[each.service], each) for each in people[number::_PROCESSES]]
            for kind, people in askers.items()
        }
        calls["empty"] = [there.empty(bare)] * (_CALLERS // _PROCESSES)
        told.send("ready")
        while (asked := told.recv()) is not None:
            kind, seconds = asked
            told.send(_rate(calls[kind], seconds))


def _rate(calls: Sequence[Call], seconds: float) -> int:
    made = [0] * len(calls)
    until = time.perf_counter() + seconds

    def repeat(index: int) -> None:
        while time.perf_counter() < until:
            calls[index]()
            made[index] += 1

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made)

"""Histories in several processes at once: each has a PostgreSQL of its own; what came of them is told in the order of their seeds."""

import gc
import multiprocessing
import queue
import tempfile
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tests.simulation.breakage import SAFEGUARDS, without
from tests.simulation.faults import Broken
from tests.simulation.stage import Stage
from tests.support.postgres import running_server


@dataclass(frozen=True)
class Outcome:
    """What came of one history. broken: a sentence; empty where every invariant held. seconds: how long it took."""

    seed: int
    told: str
    broken: str
    seconds: float


def outcomes(
    seeds: Sequence[int], days: int, safeguard: str | None, workers: int
) -> Generator[Outcome, None, None]:
    """Plays histories, `workers` at a time. Whoever stops asking ends those that were not begun."""
    spawning = multiprocessing.get_context("spawn")  # a forked process would share connections
    waiting, came, stop = spawning.Queue(), spawning.Queue(), spawning.Event()
    for seed in seeds:
        waiting.put(seed)
    for _ in range(workers):
        waiting.put(None)
    processes = [
        spawning.Process(target=_work, args=(waiting, came, stop, days, safeguard)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        early: dict[int, Outcome] = {}
        for seed in seeds:
            while seed not in early:
                outcome = _next(came, processes)
                early[outcome.seed] = outcome
            yield early.pop(seed)
    finally:
        stop.set()
        for process in processes:
            process.join()


def _next(came: Any, processes: Sequence[Any]) -> Outcome:
    """What comes next. Raises RuntimeError when nobody is left who could send it; each has said on standard error why it ended."""
    while True:
        is_anybody_there = any(process.is_alive() for process in processes)
        try:
            outcome: Outcome = came.get(timeout=1.0)
            return outcome
        except queue.Empty:
            if not is_anybody_there:
                raise RuntimeError("no history can be played; what is above says why") from None


def _work(waiting: Any, came: Any, stop: Any, days: int, safeguard: str | None) -> None:
    # What goes wrong here is meant to.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    favoured = SAFEGUARDS[safeguard].favoured if safeguard else frozenset()
    with tempfile.TemporaryDirectory(prefix="kept-simulation-") as home, running_server() as server:
        stage = Stage(server, Path(home))
        gc.collect()
        gc.freeze()  # what is here now stays; looking through it again and again takes a tenth of the time
        while (seed := waiting.get()) is not None and not stop.is_set():
            told, broken, begun = "", "", time.monotonic()
            try:
                with without(safeguard):
                    summary = stage.play(seed, days, favoured)
                told = f"{summary.summary}; trace {summary.trace[:16]}"
            except Broken as found:
                broken = f"invariant {found}"
            except Exception:  # noqa: BLE001 - the seed has to be named, whatever it was
                broken = f"a fault that nobody expected:\n{traceback.format_exc()}"
            came.put(Outcome(seed, told, broken, time.monotonic() - begun))
        stage.close()

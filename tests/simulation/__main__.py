"""`python -m tests.simulation --seeds N --days M [--first S]`: plays histories; prints the first broken invariant with its seed."""

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

import structlog

from tests.simulation.history import History
from tests.simulation.invariants import Broken
from tests.simulation.world import Templates, World
from tests.support.postgres import running_server


def play(seed: int, days: int, templates: Templates, home: Path) -> str:
    """Plays one history; a sentence on what happened. Raises Broken."""
    world = World(random.Random(seed), templates, home)
    history = None
    try:
        history = History(world)
        for _ in range(days):
            history.day()
        stored = sum(sent.stored for sent in history.model.records.values())
        return (
            f"{len(history.model.records)} records sent, {stored} stored, {len(history.model.grants)} grants, "
            f"{len(history.model.holds)} holds, {world.faults.crashes} crashes, {world.faults.losses} lost calls"
        )
    finally:
        if history is not None:
            history.looks.close()
        world.close()


def main() -> int:
    """The exit code: 0 when every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many histories")
    parser.add_argument("--days", type=int, default=90, help="how long each is")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    options = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50)
    )  # what goes wrong here is meant to
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kept-simulation-") as base, running_server() as server:
        templates = Templates(server)
        for seed in range(options.first, options.first + options.seeds):
            started = time.monotonic()
            try:
                told = play(seed, options.days, templates, Path(base) / f"world-{seed}")
            except Broken as broken:
                print(f"seed {seed}: invariant {broken}")
                print(f"again: make simulate SEEDS=1 FIRST={seed} DAYS={options.days}")
                return 1
            except Exception:  # noqa: BLE001 - the seed has to be named, whatever it was
                traceback.print_exc()
                print(f"seed {seed}: a fault that nobody expected, above")
                return 1
            print(f"seed {seed}: held in {time.monotonic() - started:.1f} s; {told}", flush=True)
    print(
        f"{options.seeds} seeds of {options.days} days: every invariant held, in {time.monotonic() - begun:.0f} s"
    )
    return 0


if __name__ == "__main__":
    # Python's order of sets of strings differs from process to process unless it is told not to; a seed has to replay exactly.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())

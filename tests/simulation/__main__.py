"""`python -m tests.simulation --seeds N --days M [--first S] [--break SAFEGUARD]`: plays histories; prints the first broken invariant with
its seed, and exits 1."""

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import structlog

from tests.simulation.breakage import SAFEGUARDS, without
from tests.simulation.faults import Broken
from tests.simulation.stage import Stage
from tests.support.postgres import running_server


def main() -> int:
    """The exit code: 0 when every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many histories")
    parser.add_argument("--days", type=int, default=90, help="how long each is")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument(
        "--break",
        dest="safeguard",
        choices=sorted(SAFEGUARDS),
        help="take a safeguard out, to see that its loss is noticed",
    )
    options = parser.parse_args()
    # What goes wrong here is meant to.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    again = (
        f"DAYS={options.days}" if not options.safeguard else f"DAYS={options.days} BREAK={options.safeguard}"
    )
    favoured = SAFEGUARDS[options.safeguard].favoured if options.safeguard else frozenset()
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kept-simulation-") as home,
        running_server() as server,
        without(options.safeguard),
    ):
        stage = Stage(server, Path(home))
        gc.collect()
        gc.freeze()  # what is here now stays; looking through it again and again takes a tenth of the time
        for seed in range(options.first, options.first + options.seeds):
            started = time.monotonic()
            try:
                told = stage.play(seed, options.days, favoured)
            except Broken as broken:
                print(f"seed {seed}: invariant {broken}")
                print(f"again: make simulate SEEDS=1 FIRST={seed} {again}")
                return 1
            except Exception:  # noqa: BLE001 - the seed has to be named, whatever it was
                traceback.print_exc()
                print(f"seed {seed}: a fault that nobody expected, above")
                print(f"again: make simulate SEEDS=1 FIRST={seed} {again}")
                return 1
            print(
                f"seed {seed}: held in {time.monotonic() - started:.1f} s; {told.summary}; trace {told.trace[:16]}"
            )
            sys.stdout.flush()
        stage.close()
    print(
        f"{options.seeds} seeds of {options.days} days: every invariant held, in {time.monotonic() - begun:.0f} s"
    )
    return 0


if __name__ == "__main__":
    # Python's order of sets of strings differs from process to process unless it is told not to; a seed has to replay exactly.
    if os.environ.get("PYTHONHASHSEED") != "0":
        arguments = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())

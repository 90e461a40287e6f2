"""`python -m tests.simulation --seeds N --days M [--first S] [--workers W] [--break SAFEGUARD]`: plays histories; prints the first broken
invariant with its seed, and exits 1."""

import argparse
import os
import sys
import time
from contextlib import closing

from tests.simulation.breakage import SAFEGUARDS
from tests.simulation.workers import outcomes


def main() -> int:
    """The exit code: 0 when every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many histories")
    parser.add_argument("--days", type=int, default=90, help="how long each is")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="how many at once")
    parser.add_argument(
        "--break",
        dest="safeguard",
        choices=sorted(SAFEGUARDS),
        help="take a safeguard out, to see that its loss is noticed",
    )
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    begun = time.monotonic()
    playing = outcomes(seeds, options.days, options.safeguard, max(1, min(options.workers, len(seeds))))
    with closing(playing):
        for outcome in playing:
            if outcome.broken:
                out = f" BREAK={options.safeguard}" if options.safeguard else ""
                print(f"seed {outcome.seed}: {outcome.broken}")
                print(f"again: make simulate SEEDS=1 FIRST={outcome.seed} DAYS={options.days}{out}")
                return 1
            print(f"seed {outcome.seed}: held in {outcome.seconds:.1f} s; {outcome.told}", flush=True)
    seconds = time.monotonic() - begun
    print(f"{options.seeds} seeds of {options.days} days: every invariant held, in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    # Python's order of sets of strings differs from process to process unless it is told not to; a seed has to replay exactly.
    if os.environ.get("PYTHONHASHSEED") != "0":
        arguments = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())

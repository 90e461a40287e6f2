"""`python -m tests.models [--without RULE]`: looks at the lease protocol in every state of its larger models; or shows how a promise breaks
without a rule. Exits 1 when one is broken."""

import argparse
import sys
import time
from dataclasses import asdict

from tests.models.leases import Leases
from tests.models.search import search
from tests.models.weakenings import LARGE, SMALL, WEAKENINGS

_MOST = 5_000_000


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("--without", choices=sorted(WEAKENINGS), help="a rule to take out")
    options = parser.parse_args()
    if options.without:
        models = [WEAKENINGS[options.without].model()]
    else:
        models = [Leases(size) for size in (SMALL, *LARGE)]
    for model in models:
        begun = time.monotonic()
        found = search(model, _MOST)
        size = ", ".join(f"{name} {value}" for name, value in asdict(model.size).items())
        if found.counterexample is not None:
            print(found.counterexample.trace)
            print(f"broken, after {found.states:,} states ({size})")
            return 1
        seconds = time.monotonic() - begun
        print(f"held in all of {found.states:,} states, in {seconds:.0f} s ({size})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

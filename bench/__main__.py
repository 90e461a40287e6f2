"""`python -m bench [NAME …] [--scale small]`: runs the programs, prints their figures and writes build/bench.json. Where programs are
named, their figures take the place of what is there of the same names, and the others stay."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

PROGRAMS = (
    "empty_rpc",
    "bare_copy",
    "check_ratio",
    "check_throughput",
    "open_ratio",
    "audit_growth",
    "destroy_growth",
    "ingest_ratio",
    "record_unary_ratio",
    "policy_ratio",
    "policy_lookup_ratio",
    "stale_records",
    "otlp_ratio",
    "read_ratio",
    "ingest_growth",
    "screen_vs_re",
    "screen_vs_engine",
    "screen_ingest_cost",
    "unreadable_growth",
    "retention_ratio",
    "held_cost",
)
# Against programs of others, which are installed for it: `make bench-peers`.
PEERS = ("phoenix_ratio",)
_SCALES = ("small", "full")
_RESULT = Path(__file__).parents[1] / "build" / "bench.json"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures. Every ratio is of two things timed in turns."
    )
    parser.add_argument(
        "names",
        nargs="*",
        choices=[[], *PROGRAMS, *PEERS],
        help="which programs; all but those against peers without",
    )
    parser.add_argument("--scale", choices=_SCALES, default=os.environ.get("SCALE", "full"))
    options = parser.parse_args()
    if options.scale not in _SCALES:  # argparse holds no default against the choices
        parser.error(f"SCALE is {options.scale!r}, and not one of {', '.join(_SCALES)}")
    figures = []
    for name in options.names or PROGRAMS:
        sys.stderr.write(f"bench: {name}\n")
        for figure in importlib.import_module(f"bench.{name}").measure(options.scale == "small"):
            print(f"{figure.name:28} {figure.value:14,.3f} {figure.unit:14} {figure.detail}")
            figures.append(figure.as_json())
    if options.names and _RESULT.exists():
        fresh = {figure["name"] for figure in figures}
        figures = [one for one in json.loads(_RESULT.read_text()) if one["name"] not in fresh] + figures
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

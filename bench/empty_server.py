"""`python -m bench.empty_server DIRECTORY PORT`: an empty RPC on this project's server builder over mTLS, in a process of its own, until
its standard input ends. What is measured against it is a service in a process of its own too."""

import sys
from pathlib import Path
from typing import Any, Final

from kept.options.v1 import callers_pb2
from kept.safety_review.v1 import detectors_pb2
from shared import callers
from shared.server import protect_memory
from tests.support.server import running

METHOD: Final = "/kept.safety_review.v1.DetectorService/ListRules"
CALLER: Final = "bench"


def allow_caller() -> None:
    """A service may call it here; in this process only."""
    callers._cache[METHOD] = callers_pb2.Callers(services=[CALLER])


def answer(_context: Any) -> detectors_pb2.ListRulesResponse:
    """Nothing."""
    return detectors_pb2.ListRulesResponse()


def main(directory: str, port: str) -> None:
    """Serves until standard input ends."""
    protect_memory()
    allow_caller()
    with running(Path(directory), answer, port=int(port), worker_threads=8):
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])

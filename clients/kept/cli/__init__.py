"""The `kept` command. What a command needs is imported when it runs: help must not wait for gRPC or for tables."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit code: 0 done, 1 refused or failed by a service, 2 not understood, 3 not reachable,
    4 a verification failed, 130 interrupted."""
    from kept.cli.app import command

    try:
        command(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="kept")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except KeyboardInterrupt:
        return 130
    return 0

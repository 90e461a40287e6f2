"""Runs logging: python -m services.logging --config FILE; or moves its tables onto Citus (`distribute`)."""

import sys
from pathlib import Path

from services.logging import distribute
from services.logging.config import LoggingConfig
from services.logging.wiring import wire
from shared.server import main

_MIGRATIONS = Path(__file__).parent / "migrations"


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["distribute"]:
        return distribute.main(arguments[1:])
    return main("logging", LoggingConfig, wire, migrations=_MIGRATIONS, arguments=arguments)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))

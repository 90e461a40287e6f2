"""Runs access control, or makes the first operators of an empty installation (`bootstrap`)."""

import sys
from pathlib import Path

from services.access_control import bootstrap
from services.access_control.config import AccessControlConfig
from services.access_control.wiring import wire
from shared.server import main

_MIGRATIONS = Path(__file__).parent / "migrations"


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["bootstrap"]:
        return bootstrap.main(arguments[1:], _MIGRATIONS)
    return main("access_control", AccessControlConfig, wire, migrations=_MIGRATIONS, arguments=arguments)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))

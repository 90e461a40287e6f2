"""Runs access control; or makes the first operators of an empty installation (`bootstrap`); or says what a copy of its database would
open (`try-open`)."""

import sys
from pathlib import Path

from services.access_control.config import AccessControlConfig
from services.access_control.custody import try_open
from services.access_control.people import bootstrap
from services.access_control.wiring import wire
from shared.server import main

_MIGRATIONS = Path(__file__).parent / "migrations"


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["bootstrap"]:
        return bootstrap.main(arguments[1:], _MIGRATIONS)
    if arguments[:1] == ["try-open"]:
        return try_open.main(arguments[1:])
    return main("access_control", AccessControlConfig, wire, migrations=_MIGRATIONS, arguments=arguments)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))

"""`python -m services.logging distribute --config FILE`: the database's tables, migrated before, onto a Citus cluster. See docs/scaling.md:
nobody may write meanwhile."""

import argparse
import sys
from pathlib import Path

from services.logging.config import LoggingConfig
from services.logging.store import distribution
from shared.config import ConfigError, load
from shared.database import Database
from shared.errors import KeptError


def main(arguments: list[str]) -> int:
    """The exit code; what is wrong is one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m services.logging distribute")
    parser.add_argument("--config", type=Path, required=True, help="TOML file")
    options = parser.parse_args(arguments)
    try:
        config = load(LoggingConfig, "logging", options.config)
        database = Database.configured(config, pool=1)
        try:
            with database.transaction() as tx:
                distribution.distribute(tx)
        finally:
            database.close()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeptError as error:
        sys.stderr.write(f"logging: {error.text} [{error.name}]\n")
        return 1
    except RuntimeError as error:
        sys.stderr.write(f"logging: {error}\n")
        return 1
    return 0

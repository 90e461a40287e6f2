"""python -m services.logging --config FILE"""

import sys
from pathlib import Path

from services.logging.config import LoggingConfig
from services.logging.wiring import wire
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("logging", LoggingConfig, wire, migrations=Path(__file__).parent / "migrations"))

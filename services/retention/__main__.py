"""`python -m services.retention --config FILE`."""

import sys
from pathlib import Path

from services.retention.config import RetentionConfig
from services.retention.wiring import wire
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("retention", RetentionConfig, wire, migrations=Path(__file__).parent / "migrations"))

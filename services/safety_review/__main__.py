"""The safety review service as a process."""

import os
import sys
from pathlib import Path

from services.safety_review.config import SafetyReviewConfig
from services.safety_review.wiring import wire
from shared.clock import Clock
from shared.database import Database
from shared.server import main
from shared.service import Connect, Service


def _wire(config: SafetyReviewConfig, clock: Clock, database: Database, connect: Connect) -> Service:
    os.nice(config.niceness)  # Linux: of this thread, and of all that it starts from here on
    return wire(config, clock, database, connect)


if __name__ == "__main__":
    sys.exit(
        main("safety_review", SafetyReviewConfig, _wire, migrations=Path(__file__).with_name("migrations"))
    )

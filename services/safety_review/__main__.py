"""The safety review service as a process."""

import sys
from pathlib import Path

from services.safety_review.config import SafetyReviewConfig
from services.safety_review.wiring import wire
from shared.server import main

if __name__ == "__main__":
    sys.exit(
        main("safety_review", SafetyReviewConfig, wire, migrations=Path(__file__).with_name("migrations"))
    )

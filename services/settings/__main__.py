"""The settings service's process."""

import sys
from pathlib import Path

from services.settings.config import SettingsConfig
from services.settings.wiring import wire
from shared.server import main

if __name__ == "__main__":
    sys.exit(main("settings", SettingsConfig, wire, migrations=Path(__file__).with_name("migrations")))

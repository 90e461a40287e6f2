"""Run by shared.database.migrate."""

from services.retention.store import metadata
from shared.database import run_migrations

run_migrations(metadata)

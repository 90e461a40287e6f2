"""Alembic's entry: the service's schema."""

from services.logging.store import metadata
from shared.database import run_migrations

run_migrations(metadata)

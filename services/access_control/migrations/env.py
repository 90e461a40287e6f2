"""Alembic's entry: the service's schema."""

from services.access_control.store import metadata
from shared.database import run_migrations

run_migrations(metadata)

"""The migrations and the tables that the code queries are the same."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.access_control.store import metadata
from tests.unit.access_control.world import World, migrated_vault, world

__all__ = ["migrated_vault", "world"]


def test_migrations_make_the_tables_that_the_store_has(world: World) -> None:
    with world.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    assert differences == []

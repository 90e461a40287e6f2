"""A schema that is too old is refused and left alone; one that is ahead, as in an upgrade, serves on."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.config import ConfigError
from shared.database import Database, await_schema, migrate, require_schema, schema_is_current
from tests.support.postgres import FreshDatabase

MIGRATIONS = Path(__file__).parents[3] / "services" / "settings" / "migrations"
A_MOMENT = timedelta(milliseconds=1)


@pytest.fixture
def database(fresh_database: FreshDatabase) -> Database:
    return Database(fresh_database("settings"), pool=2)


def revision(database: Database, to: str) -> None:
    with database.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": to})


def test_before_its_migration_a_version_waits_and_does_not_serve(database: Database) -> None:
    assert not schema_is_current(database, MIGRATIONS)
    with pytest.raises(ConfigError, match=r"revision none.*--migrate.*upgrade\.md"):
        require_schema(database, MIGRATIONS)
    with pytest.raises(RuntimeError, match="revision none"):
        await_schema(database, MIGRATIONS, A_MOMENT)
    migrate(database, MIGRATIONS)
    assert schema_is_current(database, MIGRATIONS)
    require_schema(database, MIGRATIONS)
    await_schema(database, MIGRATIONS, A_MOMENT)
    revision(database, "0001")
    with pytest.raises(ConfigError, match="revision 0001"):
        require_schema(database, MIGRATIONS)
    with database.transaction() as tx:  # and nothing was done to it
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "0001"
    database.close()


def test_the_version_before_serves_on_once_the_next_has_migrated(database: Database) -> None:
    migrate(database, MIGRATIONS)
    revision(database, "9999")
    assert schema_is_current(database, MIGRATIONS)
    require_schema(database, MIGRATIONS)
    await_schema(database, MIGRATIONS, A_MOMENT)
    database.close()


def test_a_database_that_is_away_is_waited_for_and_keeps_no_service_from_starting() -> None:
    nowhere = Database("postgresql+psycopg://settings@127.0.0.1:1/settings", pool=2)
    require_schema(nowhere, MIGRATIONS)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        await_schema(nowhere, MIGRATIONS, A_MOMENT)

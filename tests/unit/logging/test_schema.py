"""The migrations make what the code expects, and each is one that the version before can live with."""

from __future__ import annotations

import shutil
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from kept.logging.v1 import interactions_pb2
from services.logging.store import metadata, partitions, reading
from services.logging.store.reading import Span
from shared.database import Database, migrate
from shared.ids import new_record_id
from tests.support.postgres import FreshDatabase
from tests.unit.logging.conftest import MIGRATIONS
from tests.unit.logging.peers import NOON, ORG

# What the first version writes.
_OLD_COLUMNS = (
    "organization_id, record_id, received_at, gateway, application, model, end_user, prompt_tokens, generation_tokens, "
    "finish_reason"
)


def test_the_migrated_schema_is_the_stores(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def _write(database: Database, record_id: bytes, statement: str) -> None:
    with database.transaction() as tx:
        tx.exec_driver_sql(
            f"INSERT INTO {statement} ({_OLD_COLUMNS}) "
            f"VALUES ('{ORG}', '{record_id.hex()}', now(), 'edge', 'a', 'm', '', 1, 2, 'stop')"
        )


def test_what_the_version_before_wrote_and_still_writes_is_of_production(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    old = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, old)
    for newer in sorted((old / "versions").glob("0*.py"))[1:]:
        newer.unlink()
    database = Database(fresh_database("logging"))
    before, after, around = (new_record_id(NOON) for _ in range(3))
    try:
        migrate(database, old)
        with database.transaction() as tx:
            assert partitions.make(tx, NOON.date())
        _write(database, before, "interactions")
        migrate(database, MIGRATIONS)
        _write(database, after, "interactions")
        with database.transaction() as tx:  # its way around a conflict
            tx.exec_driver_sql("CREATE TEMPORARY TABLE arriving (LIKE interactions)")
            tx.exec_driver_sql(
                f"INSERT INTO arriving ({_OLD_COLUMNS}) "
                f"VALUES ('{ORG}', '{around.hex()}', now(), 'edge', 'a', 'm', '', 1, 2, 'stop')"
            )
            tx.exec_driver_sql(
                f"INSERT INTO interactions ({_OLD_COLUMNS}) SELECT {_OLD_COLUMNS} FROM arriving"
            )
        with database.transaction() as tx:
            found = reading.page(tx, Span(ORG, bytes(16), b"\xff" * 16, None, bytes(16)), None, 10).rows
    finally:
        database.close()
    assert [row.record_id for row in found] == sorted((before, after, around))
    assert {row.api_key_kind for row in found} == {interactions_pb2.API_KEY_KIND_PRODUCTION}

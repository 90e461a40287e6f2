"""A schema that is too old is refused and left alone; one that is ahead, as in an upgrade, serves on."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.callers import not_allowed
from shared.config import ConfigError
from shared.database import Database, await_schema, migrate, require_schema, schema_is_current
from shared.errors import KeptError
from shared.identity import Caller
from shared.readiness import Readiness
from shared.service import Service
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase

MIGRATIONS = Path(__file__).parents[3] / "services" / "settings" / "migrations"
A_MOMENT = timedelta(milliseconds=1)


class _Nobody:
    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)


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


class _Gate:
    def __init__(self) -> None:
        self.open = False

    def require(self) -> None:
        raise AssertionError("readiness makes no attempt at it")

    def is_open(self) -> bool:
        return self.open


def test_a_replica_that_answers_nobody_yet_is_not_ready(database: Database) -> None:
    migrate(database, MIGRATIONS)
    gate = _Gate()
    service = Service(register=lambda _: None, jobs=[], authority=_Nobody(), gate=gate)
    readiness = Readiness(service, database, MIGRATIONS, ManualClock())
    assert readiness.look() == {"": False, "database": True}
    gate.open = True
    assert readiness.look() == {"": True, "database": True}
    readiness.close()
    database.close()


def test_a_role_that_may_not_read_the_revision_is_told_and_waited_for(database: Database) -> None:
    migrate(database, MIGRATIONS)
    with database.transaction() as tx:
        tx.execute(text("REVOKE SELECT ON alembic_version FROM CURRENT_USER"))
    with pytest.raises(RuntimeError, match=r"does not say.*InsufficientPrivilege"):
        require_schema(database, MIGRATIONS)
    with pytest.raises(RuntimeError, match=r"not ready.*InsufficientPrivilege"):
        await_schema(database, MIGRATIONS, A_MOMENT)
    database.close()


def test_the_version_before_serves_on_once_the_next_has_migrated(database: Database) -> None:
    migrate(database, MIGRATIONS)
    revision(database, "9999")
    assert schema_is_current(database, MIGRATIONS)
    require_schema(database, MIGRATIONS)
    await_schema(database, MIGRATIONS, A_MOMENT)
    database.close()


def test_migrations_of_the_version_before_leave_a_schema_that_is_ahead_as_it_is(database: Database) -> None:
    migrate(database, MIGRATIONS)
    revision(database, "9999")
    migrate(database, MIGRATIONS)
    with database.transaction() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    database.close()


_NEXT = """
from alembic import op

revision, down_revision = "9999", "{newest}"


def upgrade() -> None:
    op.execute("{statement}")
"""


def with_next(folder: Path, statement: str) -> tuple[Path, str]:
    """The migrations of a next version, and the revision before its one."""
    newer = folder / "migrations"
    shutil.copytree(MIGRATIONS, newer)
    newest = max(path.name[:4] for path in (newer / "versions").glob("0*.py"))
    (newer / "versions" / "9999_next.py").write_text(_NEXT.format(statement=statement, newest=newest))
    return newer, newest


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE members ADD COLUMN tried text", r"waited 0\.001 s for a lock.*pg_stat_activity"),
        ("DO $$ BEGIN RAISE disk_full; END $$", r"gave up a migration \(DiskFull\)"),
    ],
)
def test_a_migration_that_the_database_gives_up_names_what_is_in_its_way(
    database: Database, tmp_path: Path, statement: str, said: str
) -> None:
    migrate(database, MIGRATIONS)
    newer, _ = with_next(tmp_path, statement)
    reader = database.apart()
    with reader.transaction() as tx:
        tx.execute(text("SELECT count(*) FROM members"))
        with pytest.raises(KeptError, match=said) as refused:
            migrate(database, newer, patience=A_MOMENT)
    assert "members" not in refused.value.text
    reader.close()
    database.close()


def test_what_migrations_did_before_one_that_fails_stays(database: Database, tmp_path: Path) -> None:
    newer, newest = with_next(tmp_path, "DO $$ BEGIN RAISE disk_full; END $$")
    with pytest.raises(KeptError, match="DiskFull"):
        migrate(database, newer)
    with database.transaction() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == newest
    database.close()


def test_a_database_that_is_away_is_waited_for_and_keeps_no_service_from_starting() -> None:
    nowhere = Database("postgresql+psycopg://settings@127.0.0.1:1/settings", pool=2)
    require_schema(nowhere, MIGRATIONS)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        await_schema(nowhere, MIGRATIONS, A_MOMENT)

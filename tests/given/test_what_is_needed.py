"""A database that cannot serve is told what it lacks, before any test fails on it. On the server that all tests have, and no other: one of
these takes a right away."""

from pathlib import Path

import pytest

from deploy.local.configuration import Section, toml
from services.logging import distribute
from shared.database import Database
from tests.given.__main__ import missing
from tests.support.postgres import FreshDatabase


@pytest.mark.parametrize("kind", ["postgres", "citus"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no database is given: make test-{kind} DATABASE="),
        ("anything else than a URL", "DATABASE is no URL"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "the database cannot be reached"),
    ],
)
def test_what_is_no_database(kind: str, url: str, said: str) -> None:
    answer = missing(kind, url)
    assert answer.startswith(said.format(kind=kind))
    assert "secret" not in answer


def test_a_stock_server_serves_and_is_no_coordinator(fresh_database: FreshDatabase) -> None:
    url = fresh_database("stock").replace("+psycopg", "")
    assert missing("postgres", url) == ""
    assert missing("citus", url).startswith("the database has no Citus: CREATE EXTENSION citus")


def test_a_role_that_may_not_make_schemas(database: Database) -> None:
    url = database.engine.url.set(drivername="postgresql")
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f'REVOKE CREATE ON DATABASE "{url.database}" FROM "{url.username}"')
        connection.commit()
    assert missing("postgres", url.render_as_string(hide_password=False)).startswith(
        "the role may not make schemas"
    )


def test_the_command_says_that_there_is_no_citus(
    fresh_database: FreshDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: Section = {
        "environment": "local",
        "trust_domain": "kept.local",
        "services_address": "127.0.0.1:1",
        "people_address": "127.0.0.1:2",
        "health_address": "127.0.0.1:3",
        "metrics_address": "127.0.0.1:4",
        "database_url": fresh_database("logging"),
        "audience": "kept:logging",
    }
    config = tmp_path / "logging.toml"
    config.write_text(toml(settings, {"tls": {"certificate": "c", "key": "k", "authority": "a"}}, {}))
    assert distribute.main(["--config", str(config)]) == 1
    assert capsys.readouterr().err.startswith("logging: this database has no Citus")

"""The role's password comes from a file, and may be replaced under a running service."""

import os
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from shared.config import ConfigError, ServiceConfig, load
from shared.database import Database
from shared.errors import KeptError, Reason
from tests.support.postgres import FreshDatabase

SETTINGS = """
environment = "local"
trust_domain = "kept.test"
services_address = "127.0.0.1:1"
people_address = "127.0.0.1:2"
health_address = "127.0.0.1:3"
metrics_address = "127.0.0.1:4"
audience = "kept:settings"
database_url = "{url}"
database_password_file = "/run/secrets/database/password"
[tls]
certificate = "/tls/tls.crt"
key = "/tls/tls.key"
authority = "/tls/ca.crt"
"""


class _Seen(Exception):
    """Ends the attempt: what the driver would be given is known."""


def test_each_connection_is_made_with_what_the_file_says_then(tmp_path: Path) -> None:
    given: list[str | None] = []
    file = tmp_path / "password"
    database = Database("postgresql+psycopg://settings@127.0.0.1:1/settings", password_file=file)

    def connect(*_: object, **parameters: str) -> None:
        given.append(parameters.get("password"))
        raise _Seen

    database.engine.dialect.connect = connect  # type: ignore[method-assign,assignment]
    for password in ("first\n", "second\n"):
        file.write_text(password)
        with pytest.raises(_Seen), database.transaction():
            pass
    assert given == ["first", "second"]


def test_it_lets_the_service_in(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    url = make_url(fresh_database("settings"))
    file = tmp_path / "password"
    file.write_text(f"{url.password or ''}\n")
    without = url.set(password=None).render_as_string(hide_password=False)
    database = Database(without, password_file=file)
    try:
        with database.transaction() as tx:
            assert tx.execute(text("SELECT 1")).scalar_one() == 1
    finally:
        database.close()


def test_a_file_that_is_not_there_is_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://settings@127.0.0.1:1/settings", password_file=tmp_path / "none")
    with pytest.raises(KeptError) as refused, database.transaction():
        pass
    assert refused.value.reason == Reason.REASON_DATABASE_UNAVAILABLE


@pytest.mark.parametrize(("password", "is_refused"), [(":in-the-url", True), ("", False)])
def test_a_password_stands_in_one_place(tmp_path: Path, password: str, is_refused: bool) -> None:
    file = tmp_path / "config.toml"
    file.write_text(SETTINGS.format(url=f"postgresql+psycopg://settings{password}@db:5432/settings"))
    assert not any(name.startswith("KEPT_SETTINGS_") for name in os.environ)
    if not is_refused:
        assert load(ServiceConfig, "settings", file).database_password_file is not None
        return
    with pytest.raises(ConfigError) as refused:
        load(ServiceConfig, "settings", file)
    assert "database_password_file" in str(refused.value)
    assert "in-the-url" not in str(refused.value)


def test_a_url_that_is_none_is_not_shown(tmp_path: Path) -> None:
    """A password may have any character; what the library says of one that looks like another has the whole of it."""
    file = tmp_path / "config.toml"
    file.write_text(SETTINGS.format(url="postgresql+psycopg://settings:s3cret\u2100more@db:5432/settings"))
    with pytest.raises(ConfigError) as refused:
        load(ServiceConfig, "settings", file)
    assert "database_url" in str(refused.value)
    assert "s3cret" not in str(refused.value)

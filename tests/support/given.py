"""A database that is given to the tests instead of a server of their own: `make test-postgres DATABASE=…`, `make test-citus DATABASE=…`.

KEPT_TEST_DATABASE is its URL. Each test has a schema of its own in it, named in the URL's `options`, so nothing is asked of the database
but the right to make schemas; what is there already is left alone. KEPT_TEST_CITUS is set when it is a Citus coordinator's.
"""

import os
import secrets

import psycopg
from psycopg import conninfo, sql
from sqlalchemy import URL, make_url

_DATABASE = "KEPT_TEST_DATABASE"
_CITUS = "KEPT_TEST_CITUS"
# What Citus has to do with what we say for a transaction (lock_timeout), and the order in which a transaction's statements reach a node.
_CITUS_SETTINGS = "-c citus.propagate_set_commands=local -c citus.multi_shard_modify_mode=sequential"


def given_url() -> str | None:
    """The URL of the database that is given; None where the tests start a server of their own."""
    return os.environ.get(_DATABASE) or None


def is_citus() -> bool:
    """Whether it is a Citus coordinator's, as whoever gave it says."""
    return bool(os.environ.get(_CITUS))


class GivenDatabase:
    """Makes schemas in it and removes them again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._schemas: dict[str, str] = {}

    def fresh(self, name: str) -> str:
        """A new schema; the SQLAlchemy URL of the database with it."""
        schema = f"{name[:30]}_{secrets.token_hex(6)}"
        with self._connection() as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        options = f"-c search_path={schema}" + (f" {_CITUS_SETTINGS}" if is_citus() else "")
        url = self._sqlalchemy_url().update_query_dict({"options": options})
        made = url.render_as_string(hide_password=False)
        self._schemas[made] = schema
        return made

    def drop(self, url: str) -> None:
        """Removes a schema that `fresh` made, with all that is in it."""
        with self._connection() as connection:
            schema = sql.Identifier(self._schemas.pop(url))
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))

    def _connection(self) -> psycopg.Connection:
        connection = psycopg.connect(self._url, autocommit=True)
        connection.execute("SET lock_timeout = '30s'")
        return connection

    def _sqlalchemy_url(self) -> URL:
        said = conninfo.conninfo_to_dict(self._url)
        known = {"host", "port", "user", "password", "dbname"}
        query = {name: str(value) for name, value in said.items() if name not in known and value is not None}
        base = make_url("postgresql+psycopg://")
        return base.set(
            host=_text(said.get("host")),
            port=int(str(said["port"])) if said.get("port") else None,
            username=_text(said.get("user")),
            password=_text(said.get("password")),
            database=_text(said.get("dbname")),
            query=query,
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)

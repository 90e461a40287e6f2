"""A service's own PostgreSQL database: engine, transactions, migrations, readiness.

Statements run in READ COMMITTED. A database that cannot be reached, a lock or statement that timed out and a deadlock all become
`DATABASE_UNAVAILABLE`, which callers may retry; nothing was committed then, or the commit's answer was lost and the act's own
idempotency tells.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, ColumnElement, Connection, any_, create_engine, event, literal, true, tuple_
from sqlalchemy import exc as sql_errors
from sqlalchemy.dialects.postgresql import ARRAY

from shared.config import ConfigError, ServiceConfig
from shared.driver import prepare, together
from shared.errors import KeptError, Reason
from shared.pages import Place
from shared.preconditions import require_database

_T = TypeVar("_T")
# One advisory lock for migrations, so that replicas that start together migrate once.
_MIGRATION_LOCK: Final = 7_300_000_001
_LOCK_PATIENCE: Final = timedelta(seconds=5)
_AFTERWARDS: Final = "kept.afterwards"
# The server ends a session that is idle for so long (idle_session_timeout): what a process slept over is not carried out when it wakes.
IDLE_SESSION: Final = timedelta(minutes=30)
_SESSION: Final = (
    "-c timezone=UTC -c idle_in_transaction_session_timeout=60000 "
    f"-c idle_session_timeout={int(IDLE_SESSION.total_seconds() * 1000)}"
)
# Of a host that vanished without a word a connection knows nothing, and would wait for hours. How soon it counts as dead, in seconds and
# in milliseconds, for bytes unanswered (PostgreSQL 18, §32.1.2). A statement takes as long as it takes: its host answers all the while.
_DEAD_HOST: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 8_000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
# Connections are renewed well before that.
_RENEWED_SECONDS: Final = 600


def after_commit(tx: Connection, action: Callable[[], None]) -> None:
    """Has `action` called once the caller's transaction is committed, and never if it is not."""
    tx.info.setdefault(_AFTERWARDS, []).append(action)


def _unavailable() -> KeptError:
    return KeptError(
        Reason.REASON_DATABASE_UNAVAILABLE,
        "The service's database cannot be reached; retry shortly.",
        retry_after=timedelta(seconds=1),
    )


class Database:
    """One service's database.

    url: SQLAlchemy URL with the psycopg driver; its `options` (libpq: settings of each session) count beside ours. pool:
    connections at most, sized to the worker threads. password_file: holds the role's password; read for each new connection, so that a
    password may be replaced under a running service. `on_commit` is called with "before" and "after" around every commit; the simulation
    crashes there.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: int = 10,
        password_file: Path | None = None,
        on_commit: Callable[[str], None] | None = None,
    ) -> None:
        self.engine = create_engine(
            url,
            pool_size=pool,
            max_overflow=0,
            pool_timeout=5,
            pool_recycle=_RENEWED_SECONDS,
            hide_parameters=True,  # no parameter in an exception's text: it may be content
            connect_args={
                **_DEAD_HOST,
                "options": f"{_options(url)} {_SESSION}".strip(),
            },
        )
        event.listen(self.engine, "connect", lambda connection, _: prepare(connection))
        if password_file is not None:
            event.listen(self.engine, "do_connect", _PasswordOf(password_file))
        self._url = url
        self._password_file = password_file
        self._on_commit = on_commit
        self._statements: list[tuple[Connection, float]] = []

    @classmethod
    def configured(cls, config: ServiceConfig, *, pool: int | None = None) -> Self:
        """The database that a service is configured with. pool: in the place of the configured one. Raises ConfigError where none is
        named, or the password's file is not there."""
        require_database(config)
        return cls(
            config.database_url.get_secret_value(),
            pool=pool or config.database_pool,
            password_file=config.database_password_file,
        )

    def apart(self) -> "Database":
        """The same database, by one connection beside the pool."""
        return Database(self._url, pool=1, password_file=self._password_file)

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """A connection for one statement, which is a transaction of its own: durable when it returns, without the round trips that begin
        and end one. One such connection is kept for the next. Raises as `transaction` does; there is no `after_commit`."""
        with self._translated():
            connection, since = self._autocommitting()
            try:
                if self._on_commit is not None:
                    self._on_commit("before")
                yield connection
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            if self._statements:
                connection.close()
            else:
                self._statements.append((connection, since))
        if self._on_commit is not None:
            self._on_commit("after")

    def _autocommitting(self) -> tuple[Connection, float]:
        """The connection that is kept, if it is not too old, and since when there is it."""
        try:
            kept = self._statements.pop()
        except IndexError:
            kept = None
        if kept is not None and time.monotonic() - kept[1] < _RENEWED_SECONDS:
            return kept
        if kept is not None:
            kept[0].close()
        return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT"), time.monotonic()

    @contextmanager
    def at_once(self) -> Iterator[Connection]:
        """A transaction whose statements go out together with its end, in one round trip: nobody looks at an answer before. Takes `execute`
        and `later` of shared.driver. Raises as `transaction` does; there is no `after_commit`.

        A process that sleeps before they go out finds its session ended after `IDLE_SESSION`, and nothing was done."""
        with self.statement() as connection, together(connection):
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end of the block, rolled back if it raises.

        Raises KeptError DATABASE_UNAVAILABLE when the database cannot be reached or gives up; OVERLOADED when no connection is free
        within five seconds.
        """
        with self._translated(), self.engine.connect() as connection:
            connection.info.pop(_AFTERWARDS, None)  # left by a transaction that was rolled back
            with connection.begin() as transaction:
                yield connection
                if self._on_commit is not None:
                    self._on_commit("before")
                transaction.commit()
                afterwards = connection.info.pop(_AFTERWARDS, [])
            if self._on_commit is not None:
                self._on_commit("after")
            for action in afterwards:
                action()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sql_errors.TimeoutError as error:
            raise KeptError(
                Reason.REASON_OVERLOADED,
                "All connections are in use; retry shortly.",
                retry_after=timedelta(seconds=1),
            ) from error
        except sql_errors.DBAPIError as error:
            if error.connection_invalidated or isinstance(
                error.orig, psycopg.OperationalError | psycopg.InterfaceError
            ):
                raise _unavailable() from error
            raise
        except (
            psycopg.OperationalError
        ) as error:  # raised by what goes past SQLAlchemy: COPY, and what is too frequent for it
            raise _unavailable() from error

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection whose transactions are the caller's. Raises as `transaction` does."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Gives all connections back."""
        for connection, _ in self._statements:
            connection.close()
        self._statements.clear()
        self.engine.dispose()


class _PasswordOf:
    """Puts the password that the file holds now into what a connection is made with (SQLAlchemy, DialectEvents.do_connect)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> None:
        try:
            parameters["password"] = self._file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:  # its secret is being replaced, or was never there
            raise psycopg.OperationalError(
                f"database_password_file: {self._file} cannot be read ({type(error).__name__})"
            ) from error


def _options(url: str) -> str:
    """What a URL says for each session."""
    said = sqlalchemy.make_url(url).query.get("options", ())
    return said if isinstance(said, str) else " ".join(said)


def _alembic(migrations: Path) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrations))
    return config


def migrate(database: Database, migrations: Path, *, patience: timedelta = _LOCK_PATIENCE) -> None:
    """Brings the schema to the newest revision in `migrations` (a folder as Alembic wants it); one that is there or ahead, as where an
    installation goes back a version, is left as it is. A lock is waited for as long as `patience`: a migration that cannot get one fails
    and is tried again, rather than making writers queue behind it. Raises KeptError DATABASE_UNAVAILABLE, which says what was in the
    way."""
    with database.connection() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        try:
            connection.execute(sqlalchemy.text(f"SET lock_timeout = {patience // timedelta(milliseconds=1)}"))
            connection.commit()
            with _names_what_is_in_the_way(patience):
                found = _revision(connection)
                connection.commit()  # Alembic begins a transaction a revision only where none is open
                if found < _newest(migrations):
                    config = _alembic(migrations)
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                connection.commit()
        finally:
            connection.rollback()
            connection.execute(sqlalchemy.text("SET lock_timeout = 0"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
            connection.commit()


@contextmanager
def _names_what_is_in_the_way(patience: timedelta) -> Iterator[None]:
    """Around migrations: of a database that answers and gives up, says why; never with the statement."""
    try:
        yield
    except sql_errors.OperationalError as error:
        refusal = error.orig
        if error.connection_invalidated or getattr(refusal, "sqlstate", None) is None:
            raise
        if isinstance(refusal, psycopg.errors.LockNotAvailable):
            why = (
                f"A migration waited {patience.total_seconds():g} s for a lock that another session holds, and gave up; "
                "pg_stat_activity shows which (a transaction that is open since long). It is to be tried again."
            )
        else:
            why = f"The database gave up a migration ({type(refusal).__name__}). It is to be tried again."
        raise KeptError(Reason.REASON_DATABASE_UNAVAILABLE, why, retry_after=timedelta(seconds=1)) from error


def among(column: "Column[_T]", values: Iterable[_T]) -> ColumnElement[bool]:
    """Whether a column's value is one of these, as one array whatever their number. A parameter for each would be the most of what the
    statement costs, and of more than 65,535 none can be sent (PostgreSQL 18, §54.7, Bind)."""
    return column == any_(literal(list(values), ARRAY(column.type)))


def behind(place: Place | None, at: "Column[datetime]", item_id: "Column[str]") -> ColumnElement[bool]:
    """Whether a row stands behind a place in the order of an instant and an id; None where all do."""
    return true() if place is None else tuple_(at, item_id) > tuple_(*place)


def run_migrations(metadata: sqlalchemy.MetaData) -> None:
    """The whole of a service's migrations/env.py: runs what `migrate` asked for, on its connection, one transaction a revision."""
    from alembic import context

    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def schema_is_current(database: Database, migrations: Path) -> bool:
    """Whether the database is at the newest revision that this code knows, or at a later one: during an upgrade the schema is ahead of
    the replicas that are still to be replaced, and every migration is one that they can live with (docs/operations/upgrade.md)."""
    found, newest = _revisions(database, migrations)
    return found >= newest


def require_schema(database: Database, migrations: Path) -> None:
    """Raises ConfigError for a database that is older than this code: nothing is done with it. One that cannot be reached may be as it
    should; a service starts without it, and is not ready. Raises RuntimeError for one that answers and does not say."""
    try:
        found, newest = _revisions(database, migrations)
    except KeptError:
        return
    if found < newest:
        raise ConfigError(
            f"the database's schema is at revision {found or 'none'}, and this version needs {newest} or newer: "
            "run it with --migrate first",
            "docs/operations/upgrade.md",
        )


def await_schema(database: Database, migrations: Path, patience: timedelta) -> None:
    """Returns once the schema is current. Raises RuntimeError, saying what it is instead, when it is not within `patience`."""
    until = time.monotonic() + patience.total_seconds()
    while True:
        try:
            found, newest = _revisions(database, migrations)
            if found >= newest:
                return
            state = f"its schema is at revision {found or 'none'}, and {newest} is needed"
        except KeptError:
            state = "it cannot be reached"
        except RuntimeError as error:
            state = str(error)
        if time.monotonic() >= until:
            raise RuntimeError(f"the database is not ready: {state}")
        time.sleep(min(1.0, patience.total_seconds()))


def _revisions(database: Database, migrations: Path) -> tuple[str, str]:
    """The database's revision ("" before the first) and the newest that this code knows. They are numbers of four digits, in order. Raises
    RuntimeError for a database that answers and does not say."""
    newest = _newest(migrations)
    try:
        with database.transaction() as tx:
            return _revision(tx), newest
    except sql_errors.DBAPIError as error:  # a role that may not read it, say
        raise RuntimeError(
            f"the database does not say its schema's revision ({type(error.orig).__name__})"
        ) from error


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


@cache
def _newest(migrations: Path) -> str:
    """What a process knows does not change while it runs; readiness asks every second, and to load all scripts takes 20 ms."""
    return ScriptDirectory.from_config(_alembic(migrations)).get_current_head() or ""

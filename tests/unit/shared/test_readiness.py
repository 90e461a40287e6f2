"""Readiness: nobody waits for it, no call keeps it from looking, and nothing that goes wrong in it ends the process."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text

from shared.callers import not_allowed
from shared.database import Database, migrate
from shared.errors import lease_lapsed
from shared.identity import Caller
from shared.readiness import Readiness
from shared.service import Service
from tests.support.clocks import ManualClock
from tests.support.postgres import FreshDatabase

MIGRATIONS = Path(__file__).parents[3] / "services" / "settings" / "migrations"
WELL = {"": True, "database": True, "outbox": True}


class _Nobody:
    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)


@pytest.fixture
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    made = Database(fresh_database("settings"), pool=2)
    migrate(made, MIGRATIONS)
    yield made
    made.close()


Made = Callable[[Callable[[], bool]], Readiness]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def made(database: Database, clock: ManualClock) -> Iterator[Made]:
    """Readiness of a service whose outbox says for itself whether it is well."""
    with ExitStack() as stack:

        def make(is_well: Callable[[], bool]) -> Readiness:
            service = Service(
                register=lambda _: None, jobs=[], authority=_Nobody(), parts={"outbox": is_well}
            )
            readiness = Readiness(service, database, MIGRATIONS, clock)
            stack.callback(readiness.close)
            return readiness

        yield make


def test_a_replica_whose_connections_are_all_in_use_stays_ready(database: Database, made: Made) -> None:
    readiness = made(lambda: True)
    with database.transaction(), database.transaction():
        assert readiness.look() == WELL


def test_a_look_that_finds_no_end_is_not_waited_for_and_counts_as_no(
    made: Made, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.readiness._INTERVAL", timedelta(0))
    hangs, hanging, goes_on, looked = (
        threading.Event(),
        threading.Event(),
        threading.Event(),
        threading.Event(),
    )

    def is_well() -> bool:
        if hangs.is_set():
            hanging.set()
            goes_on.wait(30)
        looked.set()
        return True

    def look_again() -> None:
        for _ in range(2):  # the first of two has ended when the second goes on
            looked.clear()
            assert looked.wait(10)

    readiness = made(is_well)
    assert readiness.found() == dict.fromkeys(WELL, False), "nothing is known yet"
    readiness.start()
    look_again()
    assert readiness.found() == WELL
    hangs.set()
    assert hanging.wait(10)
    clock.advance(timedelta(seconds=10))
    assert readiness.found() == WELL
    clock.advance(timedelta(seconds=1))
    assert readiness.found() == dict.fromkeys(WELL, False)
    hangs.clear()
    goes_on.set()
    look_again()
    assert readiness.found() == WELL


def test_what_nobody_foresaw_is_not_well_and_is_said_once(
    database: Database, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(file=written), cache_logger_on_first_use=False
    )
    failure: list[Exception] = [ValueError("zebracanary"), ValueError("zebracanary"), lease_lapsed()]

    def fail() -> bool:
        raise failure.pop(0)

    readiness = made(fail)
    for _ in range(3):
        assert readiness.look() == WELL | {"outbox": False}
    with database.transaction() as tx:
        tx.execute(text("REVOKE SELECT ON alembic_version FROM CURRENT_USER"))
    failure[:] = [lease_lapsed()] * 2
    for _ in range(2):
        assert readiness.look() == dict.fromkeys(WELL, False)
    structlog.reset_defaults()
    assert written.getvalue().count("health.crashed") == 2
    assert "zebracanary" not in written.getvalue()

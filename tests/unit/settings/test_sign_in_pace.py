"""Guessing passwords is slowed down, for one account and from one source, and the pace tells nothing about who exists."""

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread
from unittest.mock import patch

import pytest
from sqlalchemy import select

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import ACCOUNT, FORGOTTEN_AFTER, SOURCE, Pace
from services.settings.store import sign_in_failures as store
from services.settings.store.sign_in_failures import Failures
from services.settings.store.tables import sign_in_failures
from shared.errors import KeptError
from tests.support.meanwhile import meanwhile
from tests.unit.settings.world import PASSWORD, World, refused

SECOND = timedelta(seconds=1)
HERE = "192.0.2.7"


def sign_in(world: World, email: str, password: str = PASSWORD, source: str = HERE) -> contract.Member:
    request = contract.AuthenticateMemberRequest(email=email, password=password, source=source)
    return world.peer("issuer").members.AuthenticateMember(request).member


def fail(world: World, email: str, source: str = HERE) -> KeptError:
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED) as caught:
        sign_in(world, email, "a guess", source)
    return caught[0]


def delay(world: World, email: str, password: str = "a guess", source: str = HERE) -> timedelta:
    """How long the next try has to wait; the password is not looked at."""
    with (
        patch.object(Passwords, "matches", side_effect=AssertionError),
        refused(reasons_pb2.REASON_SIGN_IN_FAILED) as caught,
    ):
        sign_in(world, email, password, source)
    assert caught[0].retry_after is not None
    return caught[0].retry_after


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (1, 0), (5, 0), (6, 1), (7, 2), (8, 4), (11, 32), (12, 60), (13, 60), (10**6, 60)],
)
def test_the_wait_doubles_up_to_its_bound(failures: int, seconds: int) -> None:
    assert ACCOUNT.wait(failures) == seconds * SECOND
    assert Pace(free=5, longest=timedelta(days=99)).wait(6 + 20) == 2**20 * SECOND


@pytest.mark.parametrize("email", ["admin@acme.test", "nobody@acme.test", "\u212aadmin@acme.test"])
def test_failures_slow_down_what_follows_alike_for_who_exists_and_who_does_not(
    world: World, email: str
) -> None:
    world.admin()
    for _ in range(ACCOUNT.free + 1):
        assert fail(world, email, "").retry_after is None
    assert delay(world, email, source="") == SECOND
    assert delay(world, email.upper(), PASSWORD, source="") == SECOND, "the right password waits too"
    world.clock.advance(SECOND)
    fail(world, email, "")
    assert delay(world, email, source="") == 2 * SECOND
    world.clock.advance(2 * SECOND - timedelta(milliseconds=1))
    assert delay(world, email, source="") == timedelta(milliseconds=1), (
        "a try too soon does not start it anew"
    )


def test_whoever_gets_it_right_in_the_end_is_forgiven(world: World) -> None:
    admin = world.admin()
    for _ in range(ACCOUNT.free + 1):
        fail(world, admin.email)
    world.clock.advance(SECOND)
    assert sign_in(world, admin.email) == admin
    for _ in range(ACCOUNT.free + 1):
        fail(world, admin.email)


def test_nobody_is_locked_out_for_longer_than_a_minute(world: World) -> None:
    admin = world.admin()
    for number in range(20):
        fail(world, admin.email, f"192.0.2.{number}")
        world.clock.advance(ACCOUNT.longest)
    assert sign_in(world, admin.email) == admin


def test_a_source_that_guesses_at_many_is_slowed_down_and_an_account_of_its_own_helps_nothing(
    world: World,
) -> None:
    admin = world.admin()
    for number in range(SOURCE.free + 1):
        fail(world, f"guess{number}@acme.test")
        if number < SOURCE.free:
            sign_in(world, admin.email)
    assert delay(world, "another@acme.test") == SECOND
    assert sign_in(world, admin.email, source="198.51.100.1") == admin, "others are not held up"
    world.clock.advance(SECOND)
    assert sign_in(world, admin.email) == admin
    assert sign_in(world, admin.email) == admin, "nor are those who get it right, after the wait"
    fail(world, "another@acme.test")
    assert delay(world, "another@acme.test") == 2 * SECOND


def test_a_source_is_its_network_where_addresses_are_for_nothing(world: World) -> None:
    for number in range(SOURCE.free + 1):
        fail(world, f"guess{number}@acme.test", f"2001:db8::{number:x}")
    assert delay(world, "another@acme.test", source="2001:db8::ffff") == SECOND
    fail(world, "another@acme.test", "2001:db8:0:1::1")
    for number in range(SOURCE.free + 1):
        fail(world, f"guess{number}@globex.test", f"::ffff:192.0.2.{100 + number}")


def test_guesses_at_once_are_counted_one_after_the_other(world: World) -> None:
    admin = world.admin()
    tries, start = 12, Barrier(12)
    outcomes: list[bool] = []

    def guess() -> None:
        start.wait()
        outcomes.append(fail(world, admin.email, "").retry_after is not None)

    threads = [Thread(target=guess) for _ in range(tries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(False) == ACCOUNT.free + 1, "no more than one by one"


def _sign_in(world: World, admin: contract.Member) -> None:
    sign_in(world, admin.email, source="")


def _ask_for_a_new_password(world: World, admin: contract.Member) -> None:
    request = contract.RequestPasswordResetRequest(email=admin.email)
    world.public().members.RequestPasswordReset(request)


def _ask_for_another_address(world: World, admin: contract.Member) -> None:
    request = contract.RequestEmailChangeRequest(email="other@acme.test", password=PASSWORD)
    world.customer(admin).members.RequestEmailChange(request)


@pytest.mark.parametrize(("failures", "passed"), [(1, 0 * SECOND), (ACCOUNT.free + 1, 4 * SECOND)])
@pytest.mark.parametrize("act", [_sign_in, _ask_for_a_new_password, _ask_for_another_address])
def test_who_waits_for_the_turn_goes_by_the_time_when_it_comes(
    world: World, act: Callable[[World, contract.Member], None], failures: int, passed: timedelta
) -> None:
    """Two at once: the first one is counted at an instant after the second one began."""
    admin = world.admin()
    if act is _sign_in:
        fail(world, admin.email, "")
    else:
        act(world, admin)
    counted = sign_in_failures.c.failures
    with world.database.transaction() as tx:
        [key] = tx.execute(
            select(sign_in_failures.c.subject_sha256).where(counted > 0).with_for_update()
        ).scalars()
        second = meanwhile(tx, world.database.engine, lambda: act(world, admin))
        assert second.is_waiting
        store.put(tx, key, Failures(failures, world.clock.now() + SECOND))
        world.clock.advance(passed)
    second.result()
    with world.database.transaction() as tx:
        left = store.lock(tx, [key], world.clock.now())[key].failures
    assert left == (0 if act is _sign_in else failures + 1), "let through, and counted"


def test_failures_are_forgotten_after_a_day_and_so_are_their_rows(world: World) -> None:
    admin = world.admin()
    for _ in range(ACCOUNT.free + 1):
        fail(world, admin.email)
    [job] = [job for job in world.service.jobs if job.name == "sign_in_failures"]
    job.step()

    def rows() -> int:
        with world.database.transaction() as tx:
            return len(tx.execute(select(sign_in_failures)).all())

    assert rows() == 2
    world.clock.advance(FORGOTTEN_AFTER)
    for _ in range(ACCOUNT.free + 1):
        fail(world, admin.email)
    world.clock.advance(FORGOTTEN_AFTER + SECOND)
    job.step()
    assert rows() == 0


def test_a_clock_that_is_set_back_locks_nobody_out(world: World) -> None:
    later = Failures(100, world.clock.now() + timedelta(days=31))
    assert ACCOUNT.remaining(later, world.clock.now()) <= timedelta(0)


def test_neither_address_nor_source_is_stored(world: World) -> None:
    fail(world, "nobody@acme.test")
    with world.database.transaction() as tx:
        stored = repr(tx.execute(select(sign_in_failures)).all())
    assert "nobody" not in stored
    assert HERE not in stored

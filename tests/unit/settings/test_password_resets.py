"""Forgotten passwords: a token that works once goes to the address, and whoever asks learns nothing."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import event, select

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts.password_resets import ADDRESS, SOURCE
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.sign_in_pace import ACCOUNT
from services.settings.sources import Sources
from services.settings.store.tables import outbox, password_reset_requests, password_resets
from services.settings.telling.mail import EVENTS
from shared.errors import KeptError
from shared.webhooks import Endpoint
from tests.support.postgres import FreshDatabase
from tests.support.receiver import Receiver, receiving
from tests.unit.settings.test_account_deletion import close
from tests.unit.settings.test_sign_in_pace import HERE, delay, fail, sign_in
from tests.unit.settings.test_sign_ins import session
from tests.unit.settings.world import PASSWORD, World, refused
from tests.unit.shared.test_webhooks import verified

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ANOTHER = "quite another passphrase"
SECOND = timedelta(seconds=1)


class Mailed(World):
    """A world with somebody who sends mail."""

    def __init__(self, url: str, home: Path, mailer: Receiver) -> None:
        (home / "secret").write_text(SECRET)
        endpoint = Endpoint(name="mail", url=mailer.url, secret_files=(home / "secret",))
        super().__init__(url, mail=endpoint)
        self.mailer = mailer

    def forgot(self, email: str) -> None:
        self.public().members.RequestPasswordReset(contract.RequestPasswordResetRequest(email=email))

    def sent(self, kind: str = "password_reset.requested") -> list[dict[str, str]]:
        """What the mailer got of a kind so far."""
        self.run_jobs()
        assert all(verified(each, SECRET, time.time()) for each in self.mailer.requests)
        messages = [json.loads(each.body) for each in self.mailer.requests]
        assert {message["type"] for message in messages} <= set(EVENTS)
        return [message["data"] for message in messages if message["type"] == kind]

    def token(self, email: str) -> str:
        """A token that was sent to this address just now."""
        self.forgot(email)
        return self.sent()[-1]["reset_token"]

    def reset(self, token: str, password: str = ANOTHER) -> None:
        self.public().members.ResetPassword(
            contract.ResetPasswordRequest(reset_token=token, new_password=password)
        )


@pytest.fixture
def mailed(fresh_database: FreshDatabase, migrated: str, tmp_path: Path) -> Iterator[Mailed]:
    with receiving() as mailer:
        made = Mailed(fresh_database("settings", template=migrated), tmp_path, mailer)
        yield made
        made.database.close()


def test_a_token_goes_to_the_address_as_registered_and_works_once(mailed: Mailed) -> None:
    admin = mailed.admin()
    mailed.forgot(admin.email.upper())
    [message] = mailed.sent()
    assert set(message) == {"email", "reset_token", "expires_at"}
    assert message["email"] == admin.email
    mailed.reset(message["reset_token"])
    assert sign_in(mailed, admin.email, ANOTHER).member_id == admin.member_id
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        sign_in(mailed, admin.email)
    with refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID):
        mailed.reset(message["reset_token"], "and a third passphrase")
    assert mailed.kinds(admin.organization_id)[2:] == ["password_reset.issued", "password.reset"]
    told = str(mailed.peers.entries)
    for secret in (message["reset_token"], ANOTHER, admin.email):
        assert secret not in told


def test_the_owner_is_told_that_the_password_is_another_one(mailed: Mailed) -> None:
    admin = mailed.admin()
    mailed.reset(mailed.token(admin.email))
    assert mailed.sent("password.changed") == [{"email": admin.email}]
    mailed.customer(admin).members.ChangePassword(
        contract.ChangePasswordRequest(current_password=ANOTHER, new_password="and a third passphrase")
    )
    with mailed.database.transaction() as tx:
        assert admin.email not in str(tx.execute(select(outbox)).all())
    assert len(mailed.sent("password.changed")) == 2


def test_a_session_from_before_ends_whichever_clock_is_ahead(mailed: Mailed) -> None:
    admin, issuer = mailed.admin(), mailed.peer("issuer").members
    token = mailed.token(admin.email)
    mailed.clock.step(5 * SECOND)  # another replica's is
    before = session(mailed, admin.email)
    mailed.clock.step(-5 * SECOND)
    mailed.reset(token)
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        issuer.RenewSignIn(before)
    assert issuer.RenewSignIn(session(mailed, admin.email, ANOTHER)).member == admin


def test_the_answer_to_an_unknown_address_is_that_to_a_known_one_by_the_same_statements(
    mailed: Mailed,
) -> None:
    """The same time by construction: the call does not look whether there is an account."""
    admin = mailed.admin()
    done: list[list[str]] = []
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(mailed.database.engine, "before_cursor_execute", note)
    for email in (admin.email, "nobody@acme.test"):
        statements.clear()
        mailed.forgot(email)
        done.append(list(statements))
    event.remove(mailed.database.engine, "before_cursor_execute", note)
    assert done[0] == done[1]
    assert not any(" members" in statement for statement in done[0])
    assert [message["email"] for message in mailed.sent()] == [admin.email]
    with mailed.database.transaction() as tx:
        assert tx.execute(select(password_reset_requests)).all() == [], "nobody's address is kept"


def test_an_address_is_sent_five_at_once_and_then_fewer_without_a_word(mailed: Mailed) -> None:
    admin = mailed.admin()
    for _ in range(3 * ADDRESS.free):
        mailed.forgot(admin.email)
        mailed.forgot("nobody@acme.test")
    tokens = [message["reset_token"] for message in mailed.sent()]
    assert len(tokens) == ADDRESS.free + 1
    mailed.clock.advance(SECOND)
    mailed.forgot(admin.email)
    assert len(mailed.sent()) == ADDRESS.free + 2
    mailed.reset(tokens[0])
    for used_up in tokens:
        with refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID):
            mailed.reset(used_up)


def test_a_source_that_asks_too_often_is_told_to_wait_a_minute_at_most(mailed: Mailed) -> None:
    with patch.object(Sources, "of", return_value=HERE):
        for number in range(SOURCE.free + 1):
            mailed.forgot(f"guess{number}@acme.test")
        with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN) as caught:
            mailed.forgot("another@acme.test")
        assert caught[0].retry_after == SECOND
        for _ in range(10):
            mailed.clock.advance(SOURCE.longest)
            mailed.forgot("another@acme.test")
        with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN) as caught:
            mailed.forgot("another@acme.test")
        assert caught[0].retry_after == SOURCE.longest
    with patch.object(Sources, "of", return_value="198.51.100.1"):
        mailed.forgot("another@acme.test")


def test_it_ends_after_an_hour(mailed: Mailed) -> None:
    admin = mailed.admin()
    token = mailed.token(admin.email)
    mailed.clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    mailed.reset(token)
    token = mailed.token(admin.email)
    mailed.clock.advance(timedelta(hours=1))
    with refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID):
        mailed.reset(token, "and a third passphrase")
    mailed.run_jobs()
    with mailed.database.transaction() as tx:
        assert tx.execute(select(password_resets)).all() == []


def test_a_weak_password_leaves_the_token_as_it_was(mailed: Mailed) -> None:
    admin = mailed.admin()
    token = mailed.token(admin.email)
    with refused(reasons_pb2.REASON_WEAK_PASSWORD):
        mailed.reset(token, "password1234")
    assert sign_in(mailed, admin.email) == admin
    mailed.reset(token)


def test_of_two_resets_at_once_one_gets_the_token(mailed: Mailed) -> None:
    admin = mailed.admin()
    token = mailed.token(admin.email)
    outcome = mailed.during(
        "SELECT 1 FROM members FOR UPDATE; DELETE FROM password_resets", lambda: mailed.reset(token)
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "PASSWORD_RESET_INVALID"
    assert sign_in(mailed, admin.email) == admin


@pytest.mark.parametrize("token", ["A" * 76, "A" * 20, "x" * 200])
def test_a_made_up_token_costs_no_look_and_no_hash(mailed: Mailed, token: str) -> None:
    mailed.admin()
    with (
        patch.object(Passwords, "hash", side_effect=AssertionError),
        patch.object(mailed.database, "transaction", side_effect=AssertionError),
        refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID),
    ):
        mailed.reset(token)


def test_neither_token_nor_address_lies_in_the_outbox(mailed: Mailed) -> None:
    admin = mailed.admin()
    mailed.mailer.answers(500, 204)
    mailed.forgot(admin.email)
    mailed.sent()
    with mailed.database.transaction() as tx:
        waiting = str(tx.execute(select(outbox)).all())
    [tried] = mailed.mailer.requests
    token = json.loads(tried.body)["data"]["reset_token"]
    assert "password_reset.requested" in waiting
    assert token not in waiting
    assert admin.email not in waiting
    mailed.clock.advance(timedelta(seconds=10))
    assert [message["reset_token"] for message in mailed.sent()] == [token, token], "each try is the same"


def test_what_is_worth_nothing_any_more_is_not_sent(mailed: Mailed) -> None:
    admin = mailed.admin()
    member = mailed.colleague(admin)
    mailed.mailer.answers(500)
    for each in (admin, member):
        mailed.forgot(each.email)
    mailed.run_jobs()
    assert len(mailed.mailer.requests) == 2
    mailed.customer(admin).members.RemoveMember(
        contract.RemoveMemberRequest(member_id=member.member_id, etag=member.etag)
    )
    mailed.clock.advance(timedelta(hours=2))
    mailed.mailer.answers(204)
    assert len(mailed.sent()) == 2
    with mailed.database.transaction() as tx:
        assert tx.execute(select(outbox)).all() == []


def test_of_a_closed_organization_nobody_is_sent_one(mailed: Mailed) -> None:
    admin = mailed.admin()
    token = mailed.token(admin.email)
    close(mailed, admin.organization_id)
    mailed.forgot(admin.email)
    assert len(mailed.sent()) == 1
    with refused(reasons_pb2.REASON_CLOSED):
        mailed.reset(token)


def test_a_reset_opens_a_way_in_that_nobody_can_hold_up(mailed: Mailed) -> None:
    admin = mailed.admin()
    for number in range(20):
        fail(mailed, admin.email, f"198.51.100.{number}")
        mailed.clock.advance(ACCOUNT.longest)
    fail(mailed, admin.email, "198.51.100.99")
    assert delay(mailed, admin.email) == ACCOUNT.longest
    with patch.object(Sources, "of", return_value=HERE):
        mailed.reset(mailed.token(admin.email))
    assert sign_in(mailed, admin.email, ANOTHER).member_id == admin.member_id


def test_without_anybody_who_sends_mail_nothing_is_sent_and_nothing_fails(world: World) -> None:
    admin = world.admin()
    world.public().members.RequestPasswordReset(contract.RequestPasswordResetRequest(email=admin.email))
    world.run_jobs()
    with world.database.transaction() as tx:
        assert tx.execute(select(password_reset_requests)).all() == []
    assert sign_in(world, admin.email, PASSWORD) == admin

"""Another address: counted once a token is back that was sent there, for who asked and nobody else; the old one is told."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts.email_changes import LIFETIME, MOST
from services.settings.accounts.password_resets import ADDRESS
from services.settings.store.tables import (
    email_changes,
    known_sources,
    members,
    outbox,
    password_resets,
)
from shared.errors import KeptError
from tests.unit.settings.test_invitations import CYRILLIC, invite
from tests.unit.settings.test_password_resets import ANOTHER, Mailed, mailed
from tests.unit.settings.test_sign_in_pace import SECOND, sign_in
from tests.unit.settings.world import PASSWORD, refused

__all__ = ["mailed"]

NEW = "ada@lovelace.test"


def ask(mailed: Mailed, member: contract.Member, email: str = NEW, password: str = PASSWORD) -> None:
    mailed.customer(member).members.RequestEmailChange(
        contract.RequestEmailChangeRequest(email=email, password=password)
    )


def confirm(mailed: Mailed, member: contract.Member, token: str) -> contract.Profile:
    request = contract.ConfirmEmailChangeRequest(change_token=token)
    return mailed.customer(member).members.ConfirmEmailChange(request).profile


def sent(mailed: Mailed) -> list[dict[str, str]]:
    return mailed.sent("email_change.requested")


def test_an_address_changes_once_its_token_is_back_and_the_old_one_is_told(mailed: Mailed) -> None:
    admin = mailed.admin()
    sign_in(mailed, admin.email)
    mailed.forgot(admin.email)
    mailed.run_jobs()
    ask(mailed, admin)
    [message] = sent(mailed)
    assert message["email"] == NEW
    assert sign_in(mailed, admin.email) == admin, "nothing changed yet"
    with mailed.database.transaction() as tx:
        assert "lovelace" not in str(tx.execute(select(outbox)).all())

    changed = confirm(mailed, admin, message["change_token"]).member
    assert (changed.member_id, changed.email, changed.etag) == (admin.member_id, NEW, "member-2")
    assert sign_in(mailed, NEW.upper()) == changed
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        sign_in(mailed, admin.email)
    assert mailed.sent("email.changed") == [{"email": admin.email}]
    with mailed.database.transaction() as tx:
        assert tx.execute(select(password_resets)).all() == [], "they were sent to the old address"
        assert len(tx.execute(select(known_sources)).all()) == 1, "where the new address signed in from"
    assert mailed.kinds(admin.organization_id)[-2:] == ["email_change.requested", "email.changed"]
    told = str(mailed.peers.entries)
    assert "lovelace" not in told
    assert message["change_token"] not in told

    exported = mailed.customer(changed).members.ExportProfile(contract.ExportProfileRequest())
    assert [(each.email, each.replaced_email) for each in exported.email_changes] == [(NEW, admin.email)]
    mailed.clock.advance(timedelta(days=4))
    mailed.run_jobs()
    with mailed.database.transaction() as tx:
        assert tx.execute(select(email_changes)).all() == [], "the old address is forgotten"


def test_a_token_works_once_within_an_hour_for_who_asked(mailed: Mailed) -> None:
    admin = mailed.admin()
    colleague = mailed.colleague(admin)
    ask(mailed, admin)
    token = sent(mailed)[-1]["change_token"]
    for bad in (token[:-4] + "AAAA", "A" * 76):
        with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
            confirm(mailed, admin, bad)
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, colleague, token)
    with refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID):
        mailed.reset(token)
    mailed.clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    confirm(mailed, admin, token)
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, admin, token)
    ask(mailed, admin, "other@lovelace.test")
    late = sent(mailed)[-1]["change_token"]
    mailed.clock.advance(timedelta(hours=1))
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, admin, late)


def test_of_two_confirmations_at_once_one_does_it(mailed: Mailed) -> None:
    admin = mailed.admin()
    ask(mailed, admin)
    token = sent(mailed)[-1]["change_token"]
    outcome = mailed.during(
        "SELECT 1 FROM members FOR UPDATE; UPDATE email_changes SET replaced = 'x@y.test'",
        lambda: confirm(mailed, admin, token),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "EMAIL_CHANGE_INVALID"


def test_who_asks_does_not_learn_whether_an_address_has_an_account(mailed: Mailed) -> None:
    admin, other = mailed.admin("acme"), mailed.admin("other")
    ask(mailed, admin, other.email)
    [message] = sent(mailed)
    assert message["email"] == other.email, "its owner is told that somebody wants it"
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        confirm(mailed, admin, message["change_token"])
    assert sign_in(mailed, admin.email) == admin
    assert sign_in(mailed, other.email) == other


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        (f"ada@{CYRILLIC}", reasons_pb2.REASON_DECEPTIVE_ADDRESS),
        ("m-adrnin@acme.test", reasons_pb2.REASON_CONFUSABLE),  # a colleague's is m-admin
        ("a" * 300 + "@acme.test", reasons_pb2.REASON_INVALID_ARGUMENT),
        ("ada@\u0430cme.test", reasons_pb2.REASON_INVALID_ARGUMENT),
    ],
)
def test_an_address_that_is_not_what_it_looks_like_is_refused_by_name(
    mailed: Mailed, email: str, reason: "reasons_pb2.Reason.ValueType"
) -> None:
    admin = mailed.admin()
    mailed.colleague(admin)
    with refused(reason):
        ask(mailed, admin, email)
    assert sent(mailed) == []


def test_who_came_since_is_not_looked_like(mailed: Mailed) -> None:
    admin = mailed.admin()
    colleague = mailed.colleague(admin)
    ask(mailed, colleague, "b0b@acme.test")
    token = sent(mailed)[-1]["change_token"]
    invited = invite(mailed, admin, "bob@acme.test")
    with refused(reasons_pb2.REASON_CONFUSABLE) as caught:
        confirm(mailed, colleague, token)
    assert caught[0].metadata == {"field": "email"}
    bob = mailed.register(invited, "Bob", "Member")
    with refused(reasons_pb2.REASON_CONFUSABLE):
        confirm(mailed, colleague, token)
    mailed.customer(admin).members.RemoveMember(
        contract.RemoveMemberRequest(member_id=bob.member_id, etag=bob.etag)
    )
    assert confirm(mailed, colleague, token).member.email == "b0b@acme.test", "it was used for nothing"


def test_of_two_colleagues_at_once_the_second_is_not_called_what_looks_like_the_first(mailed: Mailed) -> None:
    admin = mailed.admin()
    colleague = mailed.colleague(admin)
    ask(mailed, admin, "bob@acme.test")
    token = sent(mailed)[-1]["change_token"]
    outcome = mailed.during(
        "SELECT 1 FROM organizations FOR SHARE; "
        "UPDATE members SET email = 'b0b@acme.test', email_key = 'b0b@acme.test' "
        f"WHERE member_id = '{colleague.member_id}'",
        lambda: confirm(mailed, admin, token),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "CONFUSABLE"


def test_a_stolen_session_moves_no_account(mailed: Mailed) -> None:
    admin = mailed.admin()
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        ask(mailed, admin, password="a guess")
    assert sent(mailed) == []


def test_nobody_is_sent_many_through_it(mailed: Mailed) -> None:
    admin = mailed.admin()
    for _ in range(2 * ADDRESS.free):
        ask(mailed, admin, "victim@elsewhere.test")
    assert len(sent(mailed)) == ADDRESS.free + 1


def test_whoever_asks_for_the_address_of_somebody_else_keeps_its_owner_from_no_reset(mailed: Mailed) -> None:
    owner, other = mailed.admin("owner"), mailed.admin("other")
    for _ in range(2 * ADDRESS.free):
        ask(mailed, other, owner.email)
    mailed.reset(mailed.token(owner.email))
    assert sign_in(mailed, owner.email, ANOTHER) == owner


def test_changes_are_bounded_to_whatever_addresses(mailed: Mailed) -> None:
    admin = mailed.admin()
    ask(mailed, admin)
    confirm(mailed, admin, sent(mailed)[-1]["change_token"])
    for number in range(MOST - 1):
        ask(mailed, admin, f"ada{number}@lovelace.test")
    for email in ("another@lovelace.test", NEW.replace("lov", "1ov")):
        with refused(reasons_pb2.REASON_LIMIT_REACHED) as caught:
            ask(mailed, admin, email)
        assert caught[0].metadata == {"kind": "email_change", "limit": str(MOST)}
    assert len(sent(mailed)) == MOST
    mailed.clock.advance(timedelta(hours=1))
    ask(mailed, admin, "another@lovelace.test")


def change_password(mailed: Mailed, admin: contract.Member) -> None:
    mailed.customer(admin).members.ChangePassword(
        contract.ChangePasswordRequest(current_password=PASSWORD, new_password=ANOTHER)
    )


@pytest.mark.parametrize(
    "renew",
    [lambda mailed, admin: mailed.reset(mailed.token(admin.email)), change_password],
    ids=["reset", "changed"],
)
def test_what_was_asked_for_under_the_password_before_is_over(
    mailed: Mailed, renew: Callable[[Mailed, contract.Member], None]
) -> None:
    """Somebody had the password and asked for the account to have another address; its owner sets a new one."""
    admin = mailed.admin()
    ask(mailed, admin, "first@lovelace.test")
    admin = confirm(mailed, admin, sent(mailed)[-1]["change_token"]).member
    ask(mailed, admin)
    token = sent(mailed)[-1]["change_token"]
    renew(mailed, admin)
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, admin, token)
    assert sign_in(mailed, admin.email, ANOTHER) == admin
    with mailed.database.transaction() as tx:
        left = tx.execute(select(email_changes.c.email)).scalars().all()
    assert left == ["first@lovelace.test"], "what is done stays until its old address is told"


def test_what_is_asked_for_under_the_new_password_counts_whichever_clock_is_ahead(mailed: Mailed) -> None:
    admin = mailed.admin()
    mailed.clock.step(5 * SECOND)  # another replica's is
    sign_in(mailed, admin.email)
    mailed.clock.step(-5 * SECOND)
    change_password(mailed, admin)
    ask(mailed, admin, password=ANOTHER)
    assert confirm(mailed, admin, sent(mailed)[-1]["change_token"]).member.email == NEW
    ask(mailed, admin, "other@lovelace.test", ANOTHER)
    mailed.clock.advance(LIFETIME)
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, admin, sent(mailed)[-1]["change_token"])


def test_what_is_older_than_the_password_changes_nothing(mailed: Mailed) -> None:
    admin = mailed.admin()
    ask(mailed, admin)
    token = sent(mailed)[-1]["change_token"]
    mailed.clock.advance(timedelta(microseconds=1))
    with mailed.database.transaction() as tx:  # as a release set it that left changes of addresses alone
        tx.execute(update(members).values(password_changed_at=mailed.clock.now()))
    with refused(reasons_pb2.REASON_EMAIL_CHANGE_INVALID):
        confirm(mailed, admin, token)


def test_an_address_that_was_asked_for_while_the_password_changed_is_none(mailed: Mailed) -> None:
    admin = mailed.admin()
    outcome = mailed.during(
        "UPDATE members SET password_hash = 'another', password_changed_at = now()",
        lambda: ask(mailed, admin),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "SIGN_IN_FAILED"
    assert sent(mailed) == []

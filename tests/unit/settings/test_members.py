"""Invitations that work once, accounts that are one an address, and sign-ins that tell nothing."""

from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import members_pb2 as contract
from kept.settings.v1 import organizations_pb2
from services.settings.accounts.passwords import Passwords
from services.settings.config import PasswordHashing
from shared.errors import KeptError
from shared.redaction import Secret
from tests.unit.settings.world import PASSWORD, World, refused


def authenticate(world: World, email: str, password: str) -> contract.Member:
    return (
        world.peer("issuer")
        .members.AuthenticateMember(contract.AuthenticateMemberRequest(email=email, password=password))
        .member
    )


def test_a_member_registers_signs_in_and_is_made_known_to_access_control(world: World) -> None:
    admin = world.admin()
    assert admin.role == roles_pb2.CUSTOMER_ROLE_ADMIN
    assert authenticate(world, "ADMIN@Acme.test", PASSWORD) == admin
    assert world.kinds(admin.organization_id) == [
        "organization.created",
        "member.registered",
    ], "sign-ins are log data, which the audit log would keep for ever"
    [synced] = world.peers.members
    assert (synced.member_id, synced.organization_id, synced.display_name, synced.revision) == (
        admin.member_id,
        admin.organization_id,
        "Ada Admin",
        1,
    )
    told = str(world.peers.entries)
    assert "Ada" not in told
    assert "acme.test" not in told


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("admin@acme.test", PASSWORD + "x"),
        ("nobody@acme.test", PASSWORD),
        ("\u212aadmin@acme.test", PASSWORD),
        ("admin@acme.test", "\x00"),
    ],
)
def test_unknown_and_wrong_are_refused_alike_after_equal_work(
    world: World, email: str, password: str
) -> None:
    world.admin()
    with patch.object(Passwords, "matches", autospec=True, side_effect=Passwords.matches) as compared:
        with refused(reasons_pb2.REASON_SIGN_IN_FAILED) as caught:
            authenticate(world, email, password)
        assert compared.call_count == 1
    assert caught[0].text == "E-mail and password do not go together."
    assert caught[0].metadata == {}


def test_neither_password_nor_token_is_stored(world: World) -> None:
    made = world.organization()
    world.register(made.invitation_token)
    invited = world.organization("other").invitation_token
    with world.database.engine.connect() as connection:
        rows = [
            str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            for table in ("members", "invitations", "outbox", "organizations")
        ]
    stored = " ".join(rows)
    assert "$argon2id$" in stored
    assert PASSWORD not in stored
    assert invited not in stored


def test_an_invitation_works_once(world: World) -> None:
    token = world.organization().invitation_token
    world.register(token)
    for bad in (token, "A" * 43):
        with refused(reasons_pb2.REASON_INVITATION_INVALID):
            world.register(bad)


def test_of_two_registrations_at_once_one_gets_the_invitation(world: World) -> None:
    token = world.organization().invitation_token
    outcome = world.during("DELETE FROM invitations", lambda: world.register(token))
    assert isinstance(outcome, KeptError)
    assert outcome.name == "INVITATION_INVALID"


def test_the_password_that_nobody_has_opens_nothing() -> None:
    passwords = Passwords(PasswordHashing(passes=1, memory_kib=8, lanes=1))
    guessed = Secret("guessed it")
    passwords._nobody = passwords.hash(guessed)
    assert not passwords.matches(guessed, None)
    assert passwords.matches(guessed, passwords._nobody)


def test_composed_and_decomposed_letters_are_one_password() -> None:
    passwords = Passwords(PasswordHashing(passes=1, memory_kib=8, lanes=1))
    assert passwords.matches(Secret("cafe\u0301 au lait"), passwords.hash(Secret("caf\u00e9 au lait")))


def test_an_invitation_ends_after_seven_days(world: World) -> None:
    first, second = world.organization("a").invitation_token, world.organization("b").invitation_token
    world.clock.advance(timedelta(days=7) - timedelta(microseconds=1))
    world.register(first)
    world.clock.advance(timedelta(microseconds=1))
    with refused(reasons_pb2.REASON_INVITATION_INVALID):
        world.register(second)


def test_inviting_again_replaces_and_an_address_has_one_account(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")

    def invite(by: contract.Member, email: str) -> str:
        return (
            world.customer(by)
            .members.InviteMember(
                contract.InviteMemberRequest(
                    organization_id=by.organization_id, email=email, role=roles_pb2.CUSTOMER_ROLE_MEMBER
                )
            )
            .invitation_token
        )

    first, second = invite(admin, "max@mail.test"), invite(admin, "MAX@mail.test")
    elsewhere = invite(other, "max@mail.test")
    with refused(reasons_pb2.REASON_INVITATION_INVALID):
        world.register(first)
    world.clock.advance(timedelta(minutes=1))
    member = world.register(second, "Max", "Member")
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        world.register(elsewhere)
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        invite(admin, "max@MAIL.test")
    listed = world.customer(member).members.ListMembers(
        contract.ListMembersRequest(organization_id=member.organization_id)
    )
    assert [person.member_id for person in listed.members] == [admin.member_id, member.member_id]


def test_only_admins_invite_and_roles_come_from_the_table(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    request = contract.InviteMemberRequest(
        organization_id=admin.organization_id, email="x@mail.test", role=roles_pb2.CUSTOMER_ROLE_ADMIN
    )
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED) as caught:
        world.customer(member).members.InviteMember(request)
    assert caught[0].metadata == {"admins": "Ada Admin"}
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        world.customer(admin).organizations.ListOrganizations(organizations_pb2.ListOrganizationsRequest())


def test_a_token_for_another_organization_or_of_nobody_opens_nothing(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    request = contract.ListMembersRequest(organization_id=other.organization_id)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin, other.organization_id).members.ListMembers(request)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin).members.ListMembers(request)
    gone = contract.Member(member_id="member_" + "0" * 26, organization_id=other.organization_id)
    with refused(reasons_pb2.REASON_UNAUTHENTICATED):
        world.customer(gone).members.ListMembers(request)


def _many(world: World, admin: contract.Member, count: int) -> None:
    """So many members, several of an instant, and as many invitations. The ids fall as the instants rise."""
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO members (member_id, organization_id, first_name, last_name, email, email_key, role, "
            "password_hash, registered_at, revision) SELECT 'member_' || lpad((100000 - n)::text, 26, '0'), %s, 'F', 'L', "
            "'u' || n || '@a.test', 'u' || n || '@a.test', 1, 'x', '2026-03-02'::timestamptz + n / 3 * interval '1 us', 1 "
            "FROM generate_series(1, %s) n",
            (admin.organization_id, count),
        )
        connection.exec_driver_sql(
            "INSERT INTO invitations (invitation_id, organization_id, email, email_key, role, token_sha256, invited_by, "
            "expires_at) SELECT 'invitation_' || lpad((100000 - n)::text, 26, '0'), %s, 'i' || n || '@a.test', "
            "'i' || n || '@a.test', 1, decode(md5(n::text), 'hex'), %s, "
            "'2026-03-05'::timestamptz + n / 3 * interval '1 us' FROM generate_series(1, %s) n",
            (admin.organization_id, admin.member_id, count),
        )


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize("what", ["Members", "Invitations"])
def test_a_list_is_read_to_its_end_page_by_page(world: World, what: str, size: int) -> None:
    admin = world.admin()
    _many(world, admin, count := 20 if size in (1, 7) else 1003)
    stub = world.customer(admin).members
    request = getattr(contract, f"List{what}Request")(organization_id=admin.organization_id, page_size=size)
    seen: list[Any] = []
    while True:
        answer = getattr(stub, f"List{what}")(request)
        found = getattr(answer, what.lower())
        assert len(found) <= (size or 1000)
        seen += found
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    addresses = [one.email for one in seen]
    own = [admin.email] if what == "Members" else []
    assert len(addresses) == len(set(addresses)) == count + len(own)
    if what == "Members":
        assert addresses[0] == admin.email
        places = [(one.registered_at.ToNanoseconds(), one.member_id) for one in seen]
    else:
        places = [(one.expires_at.ToNanoseconds(), one.invitation_id) for one in seen]
    assert places == sorted(places)


def test_a_page_token_is_its_lists_own(world: World) -> None:
    admin = world.admin()
    _many(world, admin, 3)
    stub = world.customer(admin).members
    wanted = contract.ListMembersRequest(organization_id=admin.organization_id, page_size=1)
    token = stub.ListMembers(wanted).next_page_token
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        stub.ListInvitations(
            contract.ListInvitationsRequest(organization_id=admin.organization_id, page_token=token)
        )
    forged = b"members:%s:member_%s" % (b"9" * 18, b"1" * 26)
    for bad in (
        "AAAA",
        token[:-4],
        urlsafe_b64encode(forged).decode(),
        urlsafe_b64encode(b"members:3").decode(),
    ):
        wanted.page_token = bad
        with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
            stub.ListMembers(wanted)

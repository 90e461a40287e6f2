"""Invitations: signed, for honest addresses, and for nobody who looks like a colleague."""

from datetime import UTC, timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import lifecycle_pb2, organizations_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.accounts import invitations as accounts
from shared.errors import KeptError
from tests.unit.settings.world import ERASURE, PASSWORD, World, person, refused

CYRILLIC = "xn--" + "\u0430cme".encode("punycode").decode() + ".test"


def invite(world: World, by: contract.Member, email: str) -> str:
    request = contract.InviteMemberRequest(
        organization_id=by.organization_id, email=email, role=roles_pb2.CUSTOMER_ROLE_MEMBER
    )
    return world.customer(by).members.InviteMember(request).invitation_token


def invitations(world: World) -> int:
    with world.database.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM invitations").scalar_one())


@pytest.mark.parametrize(
    "email",
    [
        "new@" + "a" * 296 + ".test",  # 300 and more
        "n" * 300 + "@acme.test",
        "new@\u0430cme.test",  # Cyrillic, as such
        "new acme.test",
        "new@acme.test\n",
        "",
    ],
)
def test_an_address_that_is_none_is_refused_by_the_name_of_the_field(world: World, email: str) -> None:
    admin = world.admin()
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        invite(world, admin, email)
    assert {field for field, _ in caught[0].fields} == {"email"}
    assert invitations(world) == 0


def test_a_homograph_domain_is_refused_by_name(world: World) -> None:
    admin = world.admin()
    with refused(reasons_pb2.REASON_DECEPTIVE_ADDRESS) as caught:
        invite(world, admin, f"new@{CYRILLIC}")
    assert caught[0].metadata == {"field": "email"}
    with refused(reasons_pb2.REASON_DECEPTIVE_ADDRESS) as caught:
        world.staff().organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id="create-x",
                display_name="X",
                tier=organizations_pb2.TIER_PAYING,
                deployment=organizations_pb2.DEPLOYMENT_SAAS,
                admin_email=f"admin@{CYRILLIC}",
            )
        )
    assert caught[0].metadata == {"field": "admin_email"}
    assert invitations(world) == 0


@pytest.mark.parametrize("email", ["adrnin@acme.test", "new@acrne.test", "NEW@ACRNE.test"])
def test_who_looks_like_a_colleague_is_not_invited(world: World, email: str) -> None:
    admin = world.admin()
    invite(world, admin, "admln@globex.test")  # no colleague's domain
    with refused(reasons_pb2.REASON_CONFUSABLE) as caught:
        invite(world, admin, email)
    assert caught[0].metadata == {"field": "email"}
    assert invitations(world) == 1


def test_what_looks_like_another_organizations_member_says_nothing_of_them(world: World) -> None:
    admin, _ = world.admin("globex"), world.admin("acme")
    assert invite(world, admin, "adrnin@acrne.test")


def test_a_made_up_token_is_refused_before_the_database_is_asked(world: World) -> None:
    token = world.organization().invitation_token
    other = world.organization("other").invitation_token
    made_up = token[:20] + other[20:]
    with world.database.engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE invitations RENAME TO hidden")
        connection.commit()
    with refused(reasons_pb2.REASON_INVITATION_INVALID):
        world.register(made_up)


def test_a_weak_password_leaves_the_invitation_as_it_was(world: World) -> None:
    token = world.organization().invitation_token
    for weak in ("password1234", "admin@acme.test", "Ada Admin Acme"):
        with refused(reasons_pb2.REASON_WEAK_PASSWORD) as caught:
            world.public().members.RegisterMember(
                contract.RegisterMemberRequest(
                    invitation_token=token, first_name="Ada", last_name="Admin", password=weak
                )
            )
        assert weak not in str(caught[0].metadata) + caught[0].text
    assert world.register(token).email == "admin@acme.test"


def test_an_invitation_is_listed_until_it_is_used_over_or_taken_back(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    used, taken_back = invite(world, admin, "used@acme.test"), invite(world, admin, "back@acme.test")

    def listed() -> list[contract.OpenInvitation]:
        request = contract.ListInvitationsRequest(organization_id=admin.organization_id)
        return list(world.customer(admin).members.ListInvitations(request).invitations)

    world.clock.advance(timedelta(minutes=1))
    invite(world, admin, "over@acme.test")
    world.register(used)
    back, over = listed()
    assert (back.email, over.email) == ("back@acme.test", "over@acme.test")
    revoke = contract.RevokeInvitationRequest(invitation_id=back.invitation_id)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.customer(other).members.RevokeInvitation(revoke)
    world.customer(admin).members.RevokeInvitation(revoke)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.customer(admin).members.RevokeInvitation(revoke)
    with refused(reasons_pb2.REASON_INVITATION_INVALID):
        world.register(taken_back)
    assert listed() == [over]
    world.clock.advance(timedelta(days=7))
    assert listed() == []
    with refused(reasons_pb2.REASON_NOT_FOUND):
        revoke.invitation_id = over.invitation_id
        world.customer(admin).members.RevokeInvitation(revoke)
    assert world.kinds(admin.organization_id)[-1] == "member.invitation_revoked"


def test_open_invitations_are_bounded_before_an_address_is_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_OPEN", 2)
    admin, other = world.admin("acme"), world.admin("other")
    invite(world, admin, "one@acme.test")
    world.clock.advance(timedelta(days=1))
    invite(world, admin, "two@acme.test")
    for email in ("three@acme.test", "m-adrnin@acme.test"):
        with refused(reasons_pb2.REASON_LIMIT_REACHED) as caught:
            invite(world, admin, email)
        assert caught[0].metadata == {"kind": "invitation", "limit": "2"}
    assert invitations(world) == 2
    world.register(invite(world, admin, "TWO@acme.test"))  # again: no further one
    invite(world, admin, "three@acme.test")  # used ones are not open
    world.clock.advance(timedelta(days=6))
    invite(world, admin, "four@acme.test")  # nor those that are over
    invite(world, other, "one@other.test")


def test_nobody_is_invited_beside_as_many_members_as_there_may_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_MEMBERS", 2)
    admin = world.admin()
    world.colleague(admin)
    with refused(reasons_pb2.REASON_LIMIT_REACHED) as caught:
        invite(world, admin, "three@acme.test")
    assert caught[0].metadata == {"kind": "member", "limit": "2"}


def test_an_invitation_is_no_password_reset(world: World) -> None:
    admin = world.admin()
    token = invite(world, admin, "new@acme.test")
    with refused(reasons_pb2.REASON_PASSWORD_RESET_INVALID):
        world.public().members.ResetPassword(
            contract.ResetPasswordRequest(reset_token=token, new_password=PASSWORD)
        )


def test_what_is_over_is_forgotten_and_keeps_nobody_out(world: World) -> None:
    admin = world.admin()
    invite(world, admin, "sirnon@mail.test")  # a typing error, which cannot be taken back once it is over
    world.clock.advance(timedelta(days=7) - timedelta(microseconds=1))
    world.run_jobs()
    with refused(reasons_pb2.REASON_CONFUSABLE):
        invite(world, admin, "simon@mail.test")
    assert invitations(world) == 1
    world.clock.advance(timedelta(microseconds=1))
    assert invite(world, admin, "simon@mail.test"), "before a job has looked"
    world.run_jobs()
    assert invitations(world) == 1, "the open one"


def invite_first_admin(
    world: World, organization_id: str, email: str = "admin@acme.test"
) -> organizations_pb2.InviteFirstAdminResponse:
    return world.staff(2).organizations.InviteFirstAdmin(
        organizations_pb2.InviteFirstAdminRequest(organization_id=organization_id, admin_email=email)
    )


@pytest.mark.parametrize("days", [0, 8])
def test_an_organization_whose_first_invitation_was_lost_or_is_over_gets_another(
    world: World, days: int
) -> None:
    made = world.organization()
    organization_id = made.organization.organization_id
    world.clock.advance(timedelta(days=days))
    world.run_jobs()
    lost = invite_first_admin(world, organization_id)
    again = invite_first_admin(world, organization_id, "admin@acme.test" if days else "cio@acme.test")
    assert again.expires_at.ToDatetime(UTC) == world.clock.now() + timedelta(days=7)
    for over in (made.invitation_token, lost.invitation_token):
        with refused(reasons_pb2.REASON_INVITATION_INVALID):
            world.register(over)
    admin = world.register(again.invitation_token)
    assert (admin.organization_id, admin.role) == (organization_id, roles_pb2.CUSTOMER_ROLE_ADMIN)
    ended = ["member.invitation_revoked", "member.invited"]
    assert world.kinds(organization_id) == [
        "organization.created",
        *(["member.invited"] if days else ended),
        *ended,
        "member.registered",
    ]
    told = [entry for entry in world.peers.entries if entry.kind in ended]
    assert {entry.actor for entry in told} == {person(2)}
    assert "acme.test" not in str(told)


def test_where_there_is_an_admin_she_invites(world: World) -> None:
    admin = world.admin()
    before = world.kinds(admin.organization_id)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        invite_first_admin(world, admin.organization_id, "other@acme.test")
    assert world.kinds(admin.organization_id) == before
    assert invitations(world) == 0


def test_an_admin_who_registers_meanwhile_is_the_first(world: World) -> None:
    """Under the organization's lock, as registering is."""
    made = world.organization()
    organization_id = made.organization.organization_id
    outcome = world.during(
        f"SELECT 1 FROM organizations WHERE organization_id = '{organization_id}' FOR SHARE; "
        "INSERT INTO members (member_id, organization_id, first_name, last_name, email, email_key, role, "
        f"password_hash, registered_at, revision) VALUES ('member_1', '{organization_id}', 'A', 'B', 'a@b.test', "
        "'a@b.test', 2, 'x', now(), 1)",
        lambda: invite_first_admin(world, organization_id),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "WRONG_STATE"


def test_a_first_admin_has_an_address_of_her_own_and_an_organization_in_use(world: World) -> None:
    world.admin("other")
    made = world.organization()
    organization_id = made.organization.organization_id
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        invite_first_admin(world, organization_id, "ADMIN@other.test")
    with refused(reasons_pb2.REASON_NOT_FOUND):
        invite_first_admin(world, "org_" + "q" * 26)
    world.peer("retention").lifecycle.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        invite_first_admin(world, organization_id)
    assert invitations(world) == 1, "what was refused ended nothing"

"""Roles and removal: an organization always has an admin, whoever acts at the same time."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import members_pb2 as contract
from services.settings.store.tables import known_sources, password_resets
from shared.errors import KeptError
from tests.unit.settings.test_invitations import invitations, invite
from tests.unit.settings.world import PASSWORD, World, refused

ADMIN, MEMBER = roles_pb2.CUSTOMER_ROLE_ADMIN, roles_pb2.CUSTOMER_ROLE_MEMBER


def set_role(
    world: World,
    by: contract.Member,
    member: contract.Member,
    role: "roles_pb2.CustomerRole.ValueType",
    etag: str = "",
) -> contract.Member:
    request = contract.SetMemberRoleRequest(member_id=member.member_id, role=role, etag=etag or member.etag)
    return world.customer(by).members.SetMemberRole(request).member


def remove(world: World, by: contract.Member, member: contract.Member, etag: str = "") -> None:
    world.customer(by).members.RemoveMember(
        contract.RemoveMemberRequest(member_id=member.member_id, etag=etag or member.etag)
    )


def listed(world: World, by: contract.Member) -> list[contract.Member]:
    request = contract.ListMembersRequest(organization_id=by.organization_id)
    found = world.customer(by).members.ListMembers(request).members
    return sorted(found, key=lambda one: one.first_name)  # Ada, who is admin, then Max


def test_a_role_counts_at_once_and_access_control_hears_of_it(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    promoted = set_role(world, admin, member, ADMIN)
    assert (promoted.role, promoted.etag != member.etag) == (ADMIN, True)
    assert set_role(world, admin, promoted, ADMIN) == promoted, "the same again changes nothing"
    demoted = set_role(world, promoted, admin, MEMBER)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        set_role(world, admin, promoted, MEMBER)
    assert world.kinds(admin.organization_id)[-2:] == ["member.role_changed"] * 2
    assert dict(world.peers.entries[-1].facts) == {
        "role": "CUSTOMER_ROLE_MEMBER",
        "role_before": "CUSTOMER_ROLE_ADMIN",
    }
    assert [(told.member_id, told.role, told.revision) for told in world.peers.members[2:]] == [
        (member.member_id, ADMIN, 2),
        (demoted.member_id, MEMBER, 2),
    ]


def test_who_is_removed_is_gone_everywhere(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    issuer = world.peer("issuer").members
    signed_in = contract.AuthenticateMemberRequest(email=member.email, password=PASSWORD, source="192.0.2.1")
    issuer.AuthenticateMember(signed_in)
    world.public().members.RequestPasswordReset(contract.RequestPasswordResetRequest(email=member.email))
    world.run_jobs()
    remove(world, admin, member)
    with refused(reasons_pb2.REASON_UNAUTHENTICATED):
        listed(world, member)
    with refused(reasons_pb2.REASON_SIGN_IN_FAILED):
        issuer.AuthenticateMember(signed_in)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        remove(world, admin, member)
    assert world.kinds(admin.organization_id)[-1] == "member.removed"
    gone = world.peers.members[-1]
    assert (gone.member_id, gone.role, gone.display_name, gone.revision) == (
        member.member_id,
        roles_pb2.CUSTOMER_ROLE_UNSPECIFIED,
        "",
        2,
    )
    with world.database.transaction() as tx:
        assert tx.execute(select(known_sources)).all() == []
        assert tx.execute(select(password_resets)).all() == []
    with world.database.engine.connect() as connection:
        tables = connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).scalars()
        everything = " ".join(
            str(connection.exec_driver_sql(f"SELECT * FROM {table}").all()) for table in tables
        )
    assert "Max" not in everything
    assert member.email not in everything


@pytest.mark.parametrize(
    "act",
    [
        lambda world, admin: set_role(world, admin, admin, MEMBER),
        lambda world, admin: remove(world, admin, admin),
        lambda world, admin: world.customer(admin).members.DeleteMyAccount(
            contract.DeleteMyAccountRequest(confirmation_sentence="delete my account", password=PASSWORD)
        ),
    ],
    ids=["demoted", "removed", "left"],
)
def test_the_last_admin_stays(world: World, act: Callable[[World, contract.Member], object]) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    with refused(reasons_pb2.REASON_LAST_ADMIN):
        act(world, admin)
    assert listed(world, admin) == [admin, member]
    successor = set_role(world, admin, member, ADMIN)
    act(world, admin)
    assert successor in listed(world, successor)


def test_of_two_admins_who_remove_each_other_one_is_refused(world: World) -> None:
    first = world.admin()
    second = set_role(world, first, world.colleague(first), ADMIN)
    outcome = world.during(
        # As the first one's removal does it: under the organization's row.
        f"SELECT 1 FROM organizations WHERE organization_id = '{first.organization_id}' FOR UPDATE; "
        f"DELETE FROM members WHERE member_id = '{second.member_id}'",
        lambda: remove(world, second, first),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "ADMIN_REQUIRED"
    assert listed(world, first) == [first]


def test_of_two_admins_at_once_one_gets_the_current_etag(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    outcome = world.during(
        f"SELECT 1 FROM organizations WHERE organization_id = '{admin.organization_id}' FOR UPDATE; "
        f"UPDATE members SET revision = 2 WHERE member_id = '{member.member_id}'",
        lambda: set_role(world, admin, member, ADMIN),
    )
    assert isinstance(outcome, KeptError)
    assert (outcome.name, outcome.status.name) == ("CONFLICT", "ABORTED")
    assert outcome.metadata == {"etag": "member-2"}
    assert [each.role for each in listed(world, admin)] == [ADMIN, MEMBER], "nothing changed"


def test_an_etag_from_yesterday_changes_nothing(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    promoted = set_role(world, admin, member, ADMIN)
    for act in (
        lambda: set_role(world, admin, promoted, MEMBER, member.etag),
        lambda: remove(world, admin, promoted, member.etag),
    ):
        with refused(reasons_pb2.REASON_CONFLICT) as caught:
            act()
        assert caught[0].metadata == {"etag": promoted.etag}
    assert promoted in listed(world, admin)


def test_an_admin_of_another_organization_finds_nobody(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    member = world.colleague(admin)
    for act in (lambda: set_role(world, other, member, ADMIN), lambda: remove(world, other, member)):
        with refused(reasons_pb2.REASON_NOT_FOUND):
            act()
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other, admin.organization_id).members.RemoveMember(
            contract.RemoveMemberRequest(member_id=member.member_id, etag=member.etag)
        )
    assert listed(world, admin) == [admin, member]


@pytest.mark.parametrize(
    "end",
    [
        lambda world, admin, ended: set_role(world, admin, ended, MEMBER),
        lambda world, admin, ended: remove(world, admin, ended),
        lambda world, _, ended: world.customer(ended).members.DeleteMyAccount(
            contract.DeleteMyAccountRequest(confirmation_sentence="delete my account", password=PASSWORD)
        ),
    ],
    ids=["demoted", "removed", "left"],
)
def test_who_is_an_admin_no_more_does_not_come_back_by_an_own_invitation(
    world: World, end: Callable[[World, contract.Member, contract.Member], object]
) -> None:
    admin = world.admin()
    ended = set_role(world, admin, world.colleague(admin), ADMIN)
    invite(world, ended, "over@acme.test")
    world.clock.advance(timedelta(days=7))
    own = [invite(world, ended, f"{name}@mail.test") for name in ("one", "two")]
    anothers = invite(world, admin, "three@mail.test")
    end(world, admin, ended)
    for token in own:
        with refused(reasons_pb2.REASON_INVITATION_INVALID):
            world.register(token)
    assert world.register(anothers).email == "three@mail.test"
    kinds = world.kinds(admin.organization_id)
    assert kinds[-3:] == ["member.invitation_revoked"] * 2 + ["member.registered"]
    assert kinds.count("member.invitation_revoked") == 2, "what was over is not taken back"


def test_what_was_invited_before_a_promotion_is_nobodys_to_end(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    invite(world, admin, "one@mail.test")
    set_role(world, admin, member, ADMIN)
    assert invitations(world) == 1


@pytest.mark.parametrize(
    "done", ["DELETE FROM members", f"UPDATE members SET role = {MEMBER}"], ids=["removed", "demoted"]
)
def test_an_invitation_that_was_on_its_way_when_the_admin_went_is_none(world: World, done: str) -> None:
    admin = world.admin()
    gone = set_role(world, admin, world.colleague(admin), ADMIN)
    outcome = world.during(
        f"SELECT 1 FROM organizations WHERE organization_id = '{admin.organization_id}' FOR NO KEY UPDATE; "
        f"{done} WHERE member_id = '{gone.member_id}'",
        lambda: invite(world, gone, "friend@mail.test"),
    )
    assert isinstance(outcome, KeptError)
    assert outcome.name == "ADMIN_REQUIRED"
    assert invitations(world) == 0

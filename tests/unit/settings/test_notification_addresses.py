"""Whom the vendor writes to: admins set it, one at a time; what is taken out is gone; nobody else sees it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import data_controls_pb2 as contract
from kept.settings.v1 import lifecycle_pb2, members_pb2
from services.settings.organizations import notification_addresses
from services.settings.store import members, traces
from tests.unit.settings.world import ERASURE, World, refused

SETTINGS, SECURITY = contract.NOTIFICATION_TOPIC_SETTINGS, contract.NOTIFICATION_TOPIC_SECURITY


def get(world: World, admin: members_pb2.Member) -> contract.GetNotificationAddressesResponse:
    return world.customer(admin).controls.GetNotificationAddresses(
        contract.GetNotificationAddressesRequest(organization_id=admin.organization_id)
    )


def put(
    world: World,
    admin: members_pb2.Member,
    *addresses: tuple["contract.NotificationTopic.ValueType", str],
    etag: str = "",
) -> contract.UpdateNotificationAddressesResponse:
    return world.customer(admin).controls.UpdateNotificationAddresses(
        contract.UpdateNotificationAddressesRequest(
            organization_id=admin.organization_id,
            etag=etag or get(world, admin).etag,
            addresses=[contract.NotificationAddress(topic=topic, email=email) for topic, email in addresses],
        )
    )


def test_the_list_is_replaced_and_what_went_is_gone(world: World) -> None:
    admin = world.admin()
    before = get(world, admin)
    assert list(before.otherwise) == ["Ada Admin"]
    stored = put(
        world, admin, (SECURITY, "Soc@acme.test"), (SETTINGS, "dpo@acme.test"), (SECURITY, "soc@acme.test")
    )
    assert [(each.topic, each.email) for each in stored.addresses] == [
        (SETTINGS, "dpo@acme.test"),
        (SECURITY, "Soc@acme.test"),
    ]
    assert get(world, admin).etag == stored.etag != before.etag
    with refused(reasons_pb2.REASON_CONFLICT) as caught:
        put(world, admin, etag=before.etag)
    assert caught[0].metadata == {"etag": stored.etag}
    assert put(world, admin, *((each.topic, each.email) for each in stored.addresses)) == stored
    put(world, admin, (SETTINGS, "dpo@acme.test"))
    with world.database.engine.connect() as connection:
        left = str(connection.exec_driver_sql("SELECT * FROM notification_addresses").all())
    assert "oc@acme.test" not in left
    world.run_jobs()
    entries = [entry for entry in world.peers.entries if entry.kind == "notification_addresses.updated"]
    assert [dict(entry.facts) for entry in entries] == [
        {"addresses": "2", "addresses_before": "0"},
        {"addresses": "1", "addresses_before": "2"},
    ]
    assert "acme.test" not in str(entries)


def test_an_operator_can_look_and_nobody_else_of_the_vendor_or_of_another_customer(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    put(world, admin, (SETTINGS, "dpo@acme.test"))
    seen = world.staff().controls.GetNotificationAddresses(
        contract.GetNotificationAddressesRequest(organization_id=admin.organization_id)
    )
    assert seen == get(world, admin)
    assert list(seen.admin_emails) == [admin.email], "where to, about what has no address"
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED) as caught:
        get(world, world.colleague(admin))
    assert caught[0].metadata == {"admins": "Ada Admin"}
    for call in (
        lambda: world.customer(other).controls.GetNotificationAddresses(
            contract.GetNotificationAddressesRequest(organization_id=admin.organization_id)
        ),
        lambda: world.customer(other).controls.UpdateNotificationAddresses(
            contract.UpdateNotificationAddressesRequest(organization_id=admin.organization_id, etag="e")
        ),
    ):
        with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
            call()


def test_every_admin_that_can_be_written_to_is_there_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = world.admin()
    world.colleague(admin)
    invited = world.customer(admin).members.InviteMember(
        members_pb2.InviteMemberRequest(
            organization_id=admin.organization_id,
            email="Bea@mail.test",
            role=roles_pb2.CUSTOMER_ROLE_ADMIN,
        )
    )
    world.clock.advance(timedelta(seconds=1))
    world.register(invited.invitation_token, "Bea", "Admin")
    assert list(get(world, admin).admin_emails) == [admin.email, "Bea@mail.test"]
    monkeypatch.setattr(notification_addresses, "_MOST_ADMINS", 1)
    assert list(get(world, admin).admin_emails) == [admin.email]
    with world.database.transaction() as tx:
        found = members.find(tx, admin.member_id)
        assert found is not None
        members.set_email(tx, replace(found, email=f"{admin.member_id}{members.LOST_ADDRESS}"))
    assert list(get(world, admin).admin_emails) == ["Bea@mail.test"], "who was lost with a backup is nowhere"


def test_without_an_admin_the_support_contact_is_named(world: World) -> None:
    organization = world.organization().organization
    seen = world.staff().controls.GetNotificationAddresses(
        contract.GetNotificationAddressesRequest(organization_id=organization.organization_id)
    )
    assert list(seen.otherwise) == ["help@vendor.test"]
    assert not seen.admin_emails


def test_they_go_with_the_organization(world: World) -> None:
    admin = world.admin()
    put(world, admin, (SETTINGS, "dpo@acme.test"))
    lifecycle, name = world.peer("retention").lifecycle, admin.organization_id
    lifecycle.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=name, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        put(world, admin)
    receipt = lifecycle.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=name, erasure_id=ERASURE)
    )
    assert receipt.removed["notification_addresses"] == 1
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.staff().controls.GetNotificationAddresses(
            contract.GetNotificationAddressesRequest(organization_id=name)
        )


@pytest.mark.parametrize(
    "wrong",
    [(SETTINGS, "nobody"), (SETTINGS, "dpo@äcme.test"), (SETTINGS, "a" * 250 + "@b.test"), (0, "a@b.test")],
)
def test_bad_input_is_named_and_changes_nothing(
    world: World, wrong: tuple["contract.NotificationTopic.ValueType", str]
) -> None:
    admin = world.admin()
    before = get(world, admin)
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        put(world, admin, (SETTINGS, "dpo@acme.test"), wrong)
    assert caught[0].fields[0][0].startswith("addresses[1].")
    assert get(world, admin) == before


def test_who_leaves_goes_from_the_list_and_who_moves_moves_in_it(world: World) -> None:
    admin = world.admin()
    colleague = world.colleague(admin)
    put(world, admin, (SETTINGS, colleague.email.upper()), (SECURITY, "soc@acme.test"))
    with world.database.transaction() as tx:
        member = members.find(tx, colleague.member_id)
        assert member is not None
        traces.follow(tx, member, "max@acme.test")
    assert [each.email for each in get(world, admin).addresses] == ["max@acme.test", "soc@acme.test"]
    with world.database.transaction() as tx:
        traces.forget(tx, replace(member, email="max@acme.test"))
    assert [each.email for each in get(world, admin).addresses] == ["soc@acme.test"]

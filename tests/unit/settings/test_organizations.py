"""Organizations and gateways: created once, known everywhere from a stated instant, seen by nobody else."""

from datetime import timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import data_controls_pb2, gateways_pb2, organizations_pb2, policies_pb2
from shared.change_feed import LEASE_DURATION
from tests.unit.settings.world import World, person, refused


def test_a_repeated_request_gives_the_same_organization_without_a_token(world: World) -> None:
    first = world.organization()
    world.clock.advance(timedelta(hours=1))
    again = world.organization()
    assert again.organization == first.organization
    assert again.effective_at == first.effective_at
    assert first.invitation_token
    assert again.invitation_token == ""
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        world.organization(training_allowed=False)
    listed = world.staff().organizations.ListOrganizations(organizations_pb2.ListOrganizationsRequest())
    assert len(listed.organizations) == 1
    assert world.kinds(first.organization.organization_id) == ["organization.created"]


def test_creation_rides_the_feed_and_begins_the_consent_history(world: World) -> None:
    made = world.organization(training_allowed=True)
    organization_id = made.organization.organization_id
    changes = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert [change.organization.organization_id for change in changes.changes] == [organization_id]
    assert not changes.changes[0].organization.closed
    assert changes.changes[0].effective_at == made.effective_at
    assert made.effective_at.ToDatetime() == (world.clock.now() + LEASE_DURATION).replace(tzinfo=None)
    history = world.staff().controls.ListDataControlsHistory(
        data_controls_pb2.ListDataControlsHistoryRequest(organization_id=organization_id)
    )
    assert [(change.controls.training_allowed, change.changed_by) for change in history.changes] == [
        (True, person(1))
    ]


def test_pages_go_through_all_in_order_and_take_no_foreign_token(world: World) -> None:
    names = [f"org{number}" for number in range(5)]
    for name in names:
        world.organization(name)
    seen: list[str] = []
    token = ""
    while True:
        page = world.staff().organizations.ListOrganizations(
            organizations_pb2.ListOrganizationsRequest(page_size=2, page_token=token)
        )
        seen += [organization.display_name for organization in page.organizations]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"{name.title()} Ltd" for name in names]
    for forged in (
        "AAAA",
        "b3JnYW5pemF0aW9uczotMQ==",
        "Y29udHJvbHM6MQ==",
        "b3JnYW5pemF0aW9uczo5OTk5OTk5OTk5OTk5OTk5OTk5",
    ):
        with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
            world.staff().organizations.ListOrganizations(
                organizations_pb2.ListOrganizationsRequest(page_token=forged)
            )


def test_a_customer_sees_the_own_organization_only(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    own = world.customer(admin).organizations.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=admin.organization_id)
    )
    assert own.organization.display_name == "Acme Ltd"
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.customer(admin).organizations.GetOrganization(
            organizations_pb2.GetOrganizationRequest(organization_id=other.organization_id)
        )
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin).controls.GetDataControls(
            data_controls_pb2.GetDataControlsRequest(organization_id=other.organization_id)
        )


def test_an_admin_with_an_account_elsewhere_is_told_at_creation(world: World) -> None:
    world.admin("acme")
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        world.staff().organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id="another-one",
                display_name="Second",
                tier=organizations_pb2.TIER_TRIAL,
                deployment=organizations_pb2.DEPLOYMENT_SAAS,
                admin_email="ADMIN@acme.test",
            )
        )
    listed = world.staff().organizations.ListOrganizations(organizations_pb2.ListOrganizationsRequest())
    assert len(listed.organizations) == 1, "nothing of a refused creation stays"


@pytest.mark.parametrize("name", [" ", "\u200b\u3164"])
def test_an_organization_has_a_name_that_is_seen(world: World, name: str) -> None:
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        world.staff().organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id="create-x",
                display_name=name,
                tier=organizations_pb2.TIER_PAYING,
                deployment=organizations_pb2.DEPLOYMENT_SAAS,
                admin_email="admin@acme.test",
                sales_representative="sally@vendor.test",
            )
        )
    assert {field for field, _ in caught[0].fields} == {"display_name"}
    assert world.kinds() == []


def test_a_gateway_is_registered_replaced_and_revoked_by_the_feed(world: World) -> None:
    organization_id = world.organization().organization.organization_id
    gateways = world.staff().gateways
    gateways.RegisterGateway(gateways_pb2.RegisterGatewayRequest(name="main", all_organizations=True))
    gateways.RegisterGateway(
        gateways_pb2.RegisterGatewayRequest(name="main", organization_ids=[organization_id])
    )
    [listed] = gateways.ListGateways(gateways_pb2.ListGatewaysRequest()).gateways
    assert (listed.all_organizations, list(listed.organization_ids)) == (False, [organization_id])
    revoked = gateways.RevokeGateway(gateways_pb2.RevokeGatewayRequest(name="main"))
    with refused(reasons_pb2.REASON_NOT_FOUND):
        gateways.RevokeGateway(gateways_pb2.RevokeGatewayRequest(name="main"))
    assert not gateways.ListGateways(gateways_pb2.ListGatewaysRequest()).gateways
    answer = world.peer("logging").policies.ListPolicyChanges(
        policies_pb2.ListPolicyChangesRequest(since_version=1)
    )
    assert [
        (change.gateway.all_organizations, list(change.gateway.organization_ids)) for change in answer.changes
    ] == [(True, []), (False, [organization_id]), (False, [])]
    assert answer.changes[-1].effective_at == revoked.effective_at
    assert answer.lease.complete
    assert world.kinds() == ["gateway.registered", "gateway.registered", "gateway.revoked"]


@pytest.mark.parametrize(
    ("everything", "ids"), [(False, []), (True, ["org_" + "0" * 26]), (False, ["org_" + "0" * 26])]
)
def test_a_gateway_needs_either_all_or_organizations_that_exist(
    world: World, everything: bool, ids: list[str]
) -> None:
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.staff().gateways.RegisterGateway(
            gateways_pb2.RegisterGatewayRequest(
                name="main", all_organizations=everything, organization_ids=ids
            )
        )
    assert not world.staff().gateways.ListGateways(gateways_pb2.ListGatewaysRequest()).gateways

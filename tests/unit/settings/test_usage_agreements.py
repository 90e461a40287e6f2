"""Whether usage counts may be sent: entered by an operator, known everywhere from a stated instant, with its whole history."""

from datetime import timedelta

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, organizations_pb2, policies_pb2
from tests.unit.settings.world import ERASURE, World, person, refused

PRIVATE = organizations_pb2.DEPLOYMENT_PRIVATE


def update(
    world: World, organization: organizations_pb2.Organization, agreed: bool | None, staff: int = 1
) -> organizations_pb2.UpdateOrganizationResponse:
    return world.staff(staff).organizations.UpdateOrganization(
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=organization.organization_id, etag=organization.etag, usage_agreed=agreed
        )
    )


def history(world: World, organization_id: str, size: int = 0) -> list[tuple[bool, str]]:
    """What was agreed, over all pages, and by whom."""
    found: list[tuple[bool, str]] = []
    token = ""
    while True:
        page = world.staff().organizations.ListUsageAgreements(
            organizations_pb2.ListUsageAgreementsRequest(
                organization_id=organization_id, page_size=size, page_token=token
            )
        )
        assert not size or len(page.agreements) <= size
        found += [(one.usage_agreed, one.entered_by) for one in page.agreements]
        token = page.next_page_token
        if not token:
            return found


def test_an_update_rides_the_feed_and_stays_in_the_history(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    assert not made.organization.usage_agreed
    world.clock.advance(timedelta(hours=1))
    on = update(world, made.organization, True, staff=2)
    assert on.organization.usage_agreed
    assert on.effective_at.ToDatetime() > world.clock.now().replace(tzinfo=None)
    same = update(world, on.organization, True)
    assert (same.organization, same.effective_at) == (on.organization, on.effective_at)
    off = update(world, on.organization, False)
    changes = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert [one.organization.usage_agreed for one in changes.changes] == [False, True, False]
    assert changes.changes[1].effective_at == on.effective_at
    assert {one.organization.deployment for one in changes.changes} == {PRIVATE}
    entries = [(False, person(1)), (True, person(2)), (False, person(1))]
    organization_id = off.organization.organization_id
    assert history(world, organization_id) == history(world, organization_id, size=1) == entries
    assert world.kinds(organization_id) == [
        "organization.created",
        "organization.updated",
        "organization.updated",
    ]


def test_what_nobody_changed_has_its_first_instant(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    assert update(world, made.organization, None).effective_at == made.effective_at


def test_an_old_etag_changes_nothing(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    update(world, made.organization, True)
    with refused(reasons_pb2.REASON_CONFLICT) as caught:
        update(world, made.organization, False)
    assert caught[0].metadata == {"etag": "organization-1"}
    assert history(world, made.organization.organization_id)[-1][0]


def test_two_at_once_take_their_turns(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    lock = f"SELECT 1 FROM organizations WHERE organization_id = '{made.organization.organization_id}' FOR UPDATE"
    done = world.during(lock, lambda: update(world, made.organization, True))
    assert isinstance(done, organizations_pb2.UpdateOrganizationResponse)
    assert done.organization.usage_agreed


def test_creation_can_say_it_and_a_repetition_must_say_the_same(world: World) -> None:
    def create(agreed: bool) -> organizations_pb2.CreateOrganizationResponse:
        return world.staff().organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id="create-agreed",
                display_name="Agreed Ltd",
                tier=organizations_pb2.TIER_PAYING,
                deployment=PRIVATE,
                admin_email="admin@agreed.test",
                usage_agreed=agreed,
            )
        )

    made = create(True)
    assert made.organization.usage_agreed
    assert create(True).organization == made.organization
    with refused(reasons_pb2.REASON_REQUEST_ID_REUSED):
        create(False)
    assert history(world, made.organization.organization_id) == [(True, person(1))]


def test_customers_see_their_own_and_no_other(world: World) -> None:
    admin, other = world.admin(), world.organization("other").organization
    own = world.customer(admin).organizations.ListUsageAgreements(
        organizations_pb2.ListUsageAgreementsRequest(organization_id=admin.organization_id)
    )
    assert [one.usage_agreed for one in own.agreements] == [False]
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin).organizations.ListUsageAgreements(
            organizations_pb2.ListUsageAgreementsRequest(organization_id=other.organization_id)
        )
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        update_as = world.customer(admin).organizations
        update_as.UpdateOrganization(
            organizations_pb2.UpdateOrganizationRequest(
                organization_id=admin.organization_id, etag="organization-0", usage_agreed=True
            )
        )


def test_what_is_closed_is_changed_no_more_and_erasure_takes_the_history(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    organization_id = made.organization.organization_id
    agreed = update(world, made.organization, True).organization
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        update(world, agreed, False)
    changes = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert changes.changes[-1].organization.closed
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["usage_agreements"] == 2
    assert history(world, organization_id) == []


def test_what_the_version_before_wrote_and_still_writes_is_not_agreed(world: World) -> None:
    organization_id = "org_" + "b" * 26
    with world.database.transaction() as tx:
        tx.exec_driver_sql(
            "INSERT INTO organizations (organization_id, request_id, display_name, tier, deployment, sales_representative, state, "
            f"zero_data_retention, created_at) VALUES ('{organization_id}', 'old', 'Old', 1, {PRIVATE}, '', 1, false, now())"
        )
    found = world.staff().organizations.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=organization_id)
    )
    assert not found.organization.usage_agreed
    assert history(world, organization_id) == []
    assert update(world, found.organization, True).organization.usage_agreed
    assert history(world, organization_id) == [(True, person(1))]

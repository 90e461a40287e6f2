"""Tier, deployment and agreement: what changes when, with its whole history; and what may not change any more."""

from datetime import datetime, timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, organizations_pb2, policies_pb2
from kept.settings.v1 import zero_data_retention_pb2 as zdr
from tests.unit.settings.test_zero_data_retention import ask, decide, policy
from tests.unit.settings.world import ERASURE, World, person, refused

PAYING, TRIAL = organizations_pb2.TIER_PAYING, organizations_pb2.TIER_TRIAL
SAAS = organizations_pb2.DEPLOYMENT_SAAS
CLOUD, PRIVATE = organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD, organizations_pb2.DEPLOYMENT_PRIVATE


def get(world: World, organization_id: str) -> organizations_pb2.Organization:
    return (
        world.staff()
        .organizations.GetOrganization(
            organizations_pb2.GetOrganizationRequest(organization_id=organization_id)
        )
        .organization
    )


def update(
    world: World, organization: organizations_pb2.Organization, staff: int = 1, **changes: object
) -> organizations_pb2.UpdateOrganizationResponse:
    return world.staff(staff).organizations.UpdateOrganization(
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=organization.organization_id,
            etag=organization.etag,
            **changes,  # type: ignore[arg-type]
        )
    )


def history(world: World, organization_id: str, size: int = 0) -> list[organizations_pb2.OrganizationChange]:
    found: list[organizations_pb2.OrganizationChange] = []
    token = ""
    while True:
        page = world.staff().organizations.ListOrganizationChanges(
            organizations_pb2.ListOrganizationChangesRequest(
                organization_id=organization_id, page_size=size, page_token=token
            )
        )
        found += page.changes
        token = page.next_page_token
        if not token:
            return found


def contracts(*references: str) -> organizations_pb2.ContractReferences:
    return organizations_pb2.ContractReferences(references=references)


def test_a_tier_changes_everywhere_from_a_stated_instant_and_both_stay_in_the_history(world: World) -> None:
    made = world.organization(tier=TRIAL)
    world.clock.advance(timedelta(days=30))
    paying = update(world, made.organization, staff=2, tier=PAYING)
    assert paying.organization.tier == PAYING
    assert policy(world).organization.tier == PAYING
    assert policy(world).effective_at == paying.effective_at
    world.clock.advance(timedelta(days=300))
    trial = update(world, paying.organization, tier=TRIAL)
    assert policy(world).organization.tier == TRIAL
    organization_id = made.organization.organization_id
    changes = history(world, organization_id)
    assert [(one.tier, one.effective_at, one.entered_by) for one in changes] == [
        (TRIAL, made.effective_at, person(1)),
        (PAYING, paying.effective_at, person(2)),
        (TRIAL, trial.effective_at, person(1)),
    ]
    assert history(world, organization_id, size=1) == changes
    world.run_jobs()
    entries = [one for one in world.peers.entries if one.kind == "organization.updated"]
    assert [(one.facts["tier_before"], one.facts["tier"]) for one in entries] == [
        ("TIER_TRIAL", "TIER_PAYING"),
        ("TIER_PAYING", "TIER_TRIAL"),
    ]


def test_an_agreement_is_entered_and_what_is_not_named_stays(world: World) -> None:
    made = world.organization()
    first = update(
        world,
        made.organization,
        training_retention_days=730,
        contract_references=contracts("C-2026-17", "C-2026-18"),
        usage_agreed=True,
    ).organization
    second = update(world, first, contract_references=contracts()).organization
    assert (first.training_retention_days, list(first.contract_references)) == (
        730,
        ["C-2026-17", "C-2026-18"],
    )
    assert (second.training_retention_days, list(second.contract_references)) == (730, [])
    assert second.usage_agreed
    assert policy(world).organization.training_retention_days == 730
    changes = world.peer("training").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert len(changes.changes) == 2, "contracts are nobody else's to know"
    assert second == get(world, second.organization_id)
    assert [
        (one.training_retention_days, len(one.contract_references), one.usage_agreed)
        for one in history(world, second.organization_id)
    ] == [(0, 0, False), (730, 2, True), (730, 0, True)]


def test_contacts_are_replaced_and_no_trace_of_the_old_one_stays(world: World) -> None:
    made = world.organization()
    first = update(world, made.organization, privacy_contact="old-dpo@acme.test").organization
    second = update(
        world, first, privacy_contact="dpo@acme.test", support_contact="it@acme.test"
    ).organization
    assert (second.privacy_contact, second.support_contact) == ("dpo@acme.test", "it@acme.test")
    assert first.etag != second.etag
    assert len(history(world, second.organization_id)) == 1
    world.run_jobs()
    assert [one.facts["changed"] for one in world.peers.entries if one.kind == "organization.updated"] == [
        "privacy_contact",
        "privacy_contact support_contact",
    ]
    with world.database.transaction() as tx:
        tables = (
            tx.exec_driver_sql(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            )
            .scalars()
            .all()
        )
        everything = " ".join(str(tx.exec_driver_sql(f"SELECT * FROM {table}").all()) for table in tables)
    assert "old-dpo" not in everything + str(world.peers.entries)
    assert "dpo@acme.test" in everything, "the look finds what is there"


def test_what_stays_the_same_changes_nothing(world: World) -> None:
    made = world.organization()
    same = update(world, made.organization, tier=PAYING, deployment=SAAS, training_retention_days=0)
    assert same.organization == made.organization
    assert same.effective_at == made.effective_at
    assert len(history(world, made.organization.organization_id)) == 1


def test_what_runs_on_the_vendors_platform_stays_there_until_it_is_erased(world: World) -> None:
    made = world.organization()
    for other in (CLOUD, PRIVATE):
        with refused(reasons_pb2.REASON_DEPLOYMENT_FIXED) as caught:
            update(world, made.organization, deployment=other, tier=TRIAL)
        assert caught[0].metadata == {"deployment": "DEPLOYMENT_SAAS"}
    assert get(world, made.organization.organization_id) == made.organization, "nothing else of it either"
    assert policy(world).organization.tier == PAYING


def test_a_deployment_that_stored_nothing_may_become_another(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    cloud = update(world, made.organization, deployment=CLOUD).organization
    moved = update(world, cloud, deployment=SAAS)
    assert moved.organization.deployment == SAAS
    assert policy(world).organization.deployment == SAAS
    assert policy(world).effective_at == moved.effective_at
    with refused(reasons_pb2.REASON_DEPLOYMENT_FIXED):
        update(world, moved.organization, deployment=PRIVATE)
    assert [one.deployment for one in history(world, moved.organization.organization_id)] == [
        PRIVATE,
        CLOUD,
        SAAS,
    ]


def test_a_deployment_whose_counts_may_be_stored_stays(world: World) -> None:
    made = world.organization(deployment=PRIVATE)
    agreed = update(world, made.organization, usage_agreed=True).organization
    with refused(reasons_pb2.REASON_DEPLOYMENT_FIXED):
        update(world, agreed, deployment=CLOUD)
    ended = update(world, agreed, usage_agreed=False).organization
    with refused(reasons_pb2.REASON_DEPLOYMENT_FIXED):
        update(world, ended, deployment=CLOUD)
    with refused(reasons_pb2.REASON_DEPLOYMENT_FIXED):
        update(world, ended, deployment=SAAS)


def test_a_trial_keeps_the_zero_data_retention_it_had_and_cannot_be_granted_another(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    request = ask(world, admin)
    decide(world, 2, request)
    decide(world, 3, request)
    update(world, get(world, admin.organization_id), tier=TRIAL)
    assert policy(world).organization.zero_data_retention, "the strictest counts"
    waiting = ask(world, other)
    decide(world, 2, waiting)
    update(world, get(world, other.organization_id), tier=TRIAL)
    with refused(reasons_pb2.REASON_NOT_ELIGIBLE):
        decide(world, 3, waiting)
    assert not get(world, other.organization_id).zero_data_retention
    listed = world.customer(other).zdr.ListZeroDataRetentionRequests(
        zdr.ListZeroDataRetentionRequestsRequest(organization_id=other.organization_id)
    )
    assert [one.state for one in listed.requests] == [zdr.ZERO_DATA_RETENTION_STATE_REQUESTED]


def test_of_two_operators_at_once_one_is_told_to_look_again(world: World) -> None:
    made = world.organization()
    organization_id = made.organization.organization_id
    late = world.during(
        f"UPDATE organizations SET revision = revision + 1 WHERE organization_id = '{organization_id}'",
        lambda: update(world, made.organization, tier=TRIAL),
    )
    assert getattr(late, "reason", None) == reasons_pb2.REASON_CONFLICT
    assert get(world, organization_id).tier == PAYING


def test_an_admin_sees_the_own_history_and_changes_none(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    own = world.customer(admin).organizations
    request = organizations_pb2.ListOrganizationChangesRequest(organization_id=admin.organization_id)
    assert [one.tier for one in own.ListOrganizationChanges(request).changes] == [PAYING]
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(other).organizations.ListOrganizationChanges(request)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        world.customer(world.colleague(admin)).organizations.ListOrganizationChanges(request)
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        own.UpdateOrganization(
            organizations_pb2.UpdateOrganizationRequest(
                organization_id=admin.organization_id, etag="organization-0", tier=TRIAL
            )
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"tier": 0},
        {"tier": 7},
        {"deployment": 0},
        {"training_retention_days": -1},
        {"training_retention_days": 36_501},
        {"contract_references": contracts("same", "same")},
        {"contract_references": contracts("")},
        {"contract_references": contracts("two\nlines")},
        {"contract_references": contracts(*map(str, range(21)))},
        {"privacy_contact": "x" * 255},
        {"support_contact": "a\0b"},
    ],
)
def test_what_is_no_agreement_is_refused(world: World, changes: dict[str, object]) -> None:
    made = world.organization()
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        update(world, made.organization, 1, **changes)
    assert get(world, made.organization.organization_id) == made.organization


def test_what_the_version_before_entered_begins_the_history(world: World) -> None:
    organization_id = "org_" + "b" * 26
    with world.database.transaction() as tx:
        tx.exec_driver_sql(
            "INSERT INTO organizations (organization_id, request_id, display_name, tier, deployment, sales_representative, state, "
            f"zero_data_retention, created_at) VALUES ('{organization_id}', 'old', 'Old', {TRIAL}, {SAAS}, '', 1, false, "
            "'2026-01-02T03:04:05Z')"
        )
    assert history(world, organization_id) == []
    update(world, get(world, organization_id), tier=PAYING)
    before, after = history(world, organization_id)
    assert (before.tier, before.entered_by) == (TRIAL, "service:settings")
    assert before.effective_at.ToDatetime() == datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as protobuf gives it
    assert (after.tier, after.entered_by) == (PAYING, person(1))


def test_history_and_agreement_go_with_the_organization(world: World) -> None:
    made = world.organization()
    update(world, made.organization, contract_references=contracts("C-1"), privacy_contact="dpo@acme.test")
    organization_id = made.organization.organization_id
    retention = world.peer("retention").lifecycle
    retention.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        update(world, get(world, organization_id), tier=TRIAL)
    receipt = retention.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )
    assert receipt.removed["organization_changes"] == 2
    assert history(world, organization_id) == []
    left = get(world, organization_id)
    assert (left.privacy_contact, list(left.contract_references)) == ("", [])
    changes = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert changes.changes[-1].organization.closed

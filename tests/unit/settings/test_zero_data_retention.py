"""Zero data retention: who can ask, what has to be accepted, and that two different people decide."""

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import members_pb2, organizations_pb2, policies_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.commitments import Commitment, Commitments, load
from tests.unit.settings.world import World, person, refused

CURRENT = load()
NAMES = [commitment.name for commitment in CURRENT.commitments]


def ask(
    world: World,
    admin: members_pb2.Member,
    version: str = CURRENT.version,
    names: list[str] | None = None,
) -> contract.ZeroDataRetentionRequest:
    return (
        world.customer(admin)
        .zdr.RequestZeroDataRetention(
            contract.RequestZeroDataRetentionRequest(
                organization_id=admin.organization_id,
                commitments_version=version,
                accepted_commitments=NAMES if names is None else names,
            )
        )
        .request
    )


def decide(
    world: World, by: int, request: contract.ZeroDataRetentionRequest, approve: bool = True
) -> contract.ZeroDataRetentionRequest:
    return (
        world.staff(by)
        .zdr.DecideZeroDataRetention(
            contract.DecideZeroDataRetentionRequest(
                zero_data_retention_request_id=request.zero_data_retention_request_id,
                approve=approve,
                reason="as discussed",
            )
        )
        .request
    )


def policy(world: World) -> policies_pb2.PolicyChange:
    answer = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    return answer.changes[-1]


def test_two_people_put_it_into_force_from_a_stated_instant(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    first = decide(world, 2, request)
    assert first.state == contract.ZERO_DATA_RETENTION_STATE_REQUESTED
    assert not first.HasField("effective_at")
    assert not policy(world).organization.zero_data_retention
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        decide(world, 2, request)
    assert not policy(world).organization.zero_data_retention
    second = decide(world, 3, request)
    assert second.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert list(second.approved_by) == [person(2), person(3)]
    assert policy(world).organization.zero_data_retention
    assert policy(world).effective_at == second.effective_at
    organization = world.staff().organizations.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=admin.organization_id)
    )
    assert organization.organization.zero_data_retention
    with refused(reasons_pb2.REASON_WRONG_STATE):
        decide(world, 4, request)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        ask(world, admin)
    assert [kind for kind in world.kinds(admin.organization_id) if kind.startswith("zero")] == [
        "zero_data_retention.requested",
        "zero_data_retention.approved",
        "zero_data_retention.approved",
        "zero_data_retention.decided",
    ]
    [asked] = [entry for entry in world.peers.entries if entry.kind == "zero_data_retention.requested"]
    assert asked.facts["copied"] == "sales_representative"
    assert "sally@vendor.test" not in str(world.peers.entries)


def test_the_first_denial_ends_a_request_and_another_can_follow(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        ask(world, admin)
    decide(world, 2, request)
    assert decide(world, 3, request, approve=False).state == contract.ZERO_DATA_RETENTION_STATE_DENIED
    with refused(reasons_pb2.REASON_WRONG_STATE):
        decide(world, 4, request)
    assert not policy(world).organization.zero_data_retention
    again = ask(world, admin)
    waiting = world.staff(2).zdr.ListZeroDataRetentionRequests(
        contract.ListZeroDataRetentionRequestsRequest()
    )
    assert [entry.zero_data_retention_request_id for entry in waiting.requests] == [
        again.zero_data_retention_request_id
    ]
    own = world.customer(admin).zdr.ListZeroDataRetentionRequests(
        contract.ListZeroDataRetentionRequestsRequest(organization_id=admin.organization_id)
    )
    assert len(own.requests) == 2
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.customer(admin).zdr.ListZeroDataRetentionRequests(
            contract.ListZeroDataRetentionRequestsRequest()
        )


@pytest.mark.parametrize(
    ("tier", "deployment"),
    [
        (organizations_pb2.TIER_TRIAL, organizations_pb2.DEPLOYMENT_SAAS),
        (organizations_pb2.TIER_PAYING, organizations_pb2.DEPLOYMENT_PRIVATE),
        (organizations_pb2.TIER_PAYING, organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD),
    ],
)
def test_only_paying_organizations_on_the_own_platform_can_ask(
    world: World,
    tier: "organizations_pb2.Tier.ValueType",
    deployment: "organizations_pb2.Deployment.ValueType",
) -> None:
    admin = world.admin(tier=tier, deployment=deployment)
    with refused(reasons_pb2.REASON_NOT_ELIGIBLE) as caught:
        ask(world, admin)
    assert caught[0].metadata == {
        "tier": organizations_pb2.Tier.Name(tier),
        "deployment": organizations_pb2.Deployment.Name(deployment),
    }


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2025-01", NAMES),
        (CURRENT.version, NAMES[1:]),
        (CURRENT.version, [*NAMES[1:], "something-else"]),
        (CURRENT.version, [*NAMES, "something-else"]),
    ],
)
def test_every_commitment_of_the_current_version_has_to_be_accepted(
    world: World, version: str, names: list[str]
) -> None:
    admin = world.admin()
    with refused(reasons_pb2.REASON_COMMITMENTS_NOT_ACCEPTED) as caught:
        ask(world, admin, version, names)
    assert caught[0].metadata == {"version": CURRENT.version}


def test_anybody_can_read_the_commitments(world: World) -> None:
    answer = world.public().zdr.GetAdditionalCommitments(contract.GetAdditionalCommitmentsRequest())
    assert [commitment.name for commitment in answer.commitments] == NAMES
    assert all(commitment.text for commitment in answer.commitments)
    Commitments("v", (Commitment("a", "A."),)).require_accepted("v", ["a"])

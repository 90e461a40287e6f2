"""Zero data retention: who can ask, what has to be accepted, that two different people decide, and how it ends."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from importlib import import_module
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, members_pb2, organizations_pb2, policies_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from services.settings.zero_data_retention.commitments import Commitment, Commitments, load
from tests.unit.settings.test_subject_requests import EXPORT, FIND
from tests.unit.settings.test_subject_requests import ask as ask_for_subject
from tests.unit.settings.world import ERASURE, World, person, refused

CURRENT = load()
VOICE, MOMENT = timedelta(hours=72), timedelta(microseconds=1)
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
    assert {limit.name for limit in answer.limits} >= {"training", "support", "subject-requests", "export"}
    with refused(reasons_pb2.REASON_NOT_FOUND):
        world.public().zdr.GetAdditionalCommitments(
            contract.GetAdditionalCommitmentsRequest(version="1999-01")
        )
    Commitments("v", (Commitment("a", "A."),)).require_accepted("v", ["a"])


def end(
    world: World, by: members_pb2.Member | int, request: contract.ZeroDataRetentionRequest
) -> contract.ZeroDataRetentionRequest:
    stubs = world.staff(by) if isinstance(by, int) else world.customer(by)
    return stubs.zdr.EndZeroDataRetention(
        contract.EndZeroDataRetentionRequest(
            zero_data_retention_request_id=request.zero_data_retention_request_id, reason="not needed"
        )
    ).request


def approved(world: World, admin: members_pb2.Member) -> contract.ZeroDataRetentionRequest:
    request = ask(world, admin)
    decide(world, 2, request)
    return decide(world, 3, request)


def test_the_sales_representative_is_copied_by_address_for_who_may_see_it(world: World) -> None:
    admin = world.admin()
    assert ask(world, admin).copied_to == "sally@vendor.test"
    [waiting] = (
        world.staff(2)
        .zdr.ListZeroDataRetentionRequests(contract.ListZeroDataRetentionRequestsRequest())
        .requests
    )
    assert waiting.copied_to == "sally@vendor.test"


def test_an_admin_takes_a_request_back(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        end(world, 2, request)  # staff deny, they do not withdraw
    with refused(reasons_pb2.REASON_NOT_FOUND):
        end(world, world.admin("other"), request)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        end(world, world.colleague(admin), request)
    taken = end(world, admin, request)
    assert taken.state == contract.ZERO_DATA_RETENTION_STATE_WITHDRAWN
    assert end(world, admin, request) == taken
    with refused(reasons_pb2.REASON_WRONG_STATE):
        decide(world, 2, request)
    denied = decide(world, 2, ask(world, admin), approve=False)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        end(world, admin, denied)
    assert "zero_data_retention.withdrawn" in world.kinds(admin.organization_id)


def test_an_admin_ends_it_at_once_and_can_ask_again(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    ended = end(world, admin, request)
    assert ended.state == contract.ZERO_DATA_RETENTION_STATE_ENDED
    assert ended.end_reason == "not needed"
    assert not policy(world).organization.zero_data_retention
    assert policy(world).effective_at == ended.end_effective_at
    assert ended.end_effective_at.ToDatetime(UTC) > world.clock.now(), "everybody has to know of it first"
    assert end(world, admin, request) == ended
    assert approved(world, admin).state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert policy(world).organization.zero_data_retention
    assert "zero_data_retention.ended" in world.kinds(admin.organization_id)


def test_the_vendor_ends_it_with_two_voices_and_after_a_notice(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    first = end(world, 4, request)
    assert not first.HasField("ends_at")
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        end(world, 4, request)
    second = end(world, 5, request)
    assert list(second.end_approved_by) == [person(4), person(5)]
    assert second.ends_at.ToDatetime(UTC) == world.clock.now() + timedelta(days=30)
    assert second.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert end(world, 6, request) == second
    world.clock.advance(timedelta(days=30) - timedelta(microseconds=1))
    world.run_jobs()
    assert policy(world).organization.zero_data_retention
    world.clock.advance(timedelta(microseconds=1))
    world.run_jobs()
    assert not policy(world).organization.zero_data_retention
    [ended] = (
        world.customer(admin)
        .zdr.ListZeroDataRetentionRequests(
            contract.ListZeroDataRetentionRequestsRequest(organization_id=admin.organization_id)
        )
        .requests
    )
    assert ended.state == contract.ZERO_DATA_RETENTION_STATE_ENDED
    assert ended.end_effective_at == policy(world).effective_at


def test_an_approval_counts_while_its_person_could_give_it(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    decide(world, 2, request)
    world.peers.lapsed.add(person(2))
    second = decide(world, 3, request)
    assert second.state == contract.ZERO_DATA_RETENTION_STATE_REQUESTED, "one voice of two"
    assert not policy(world).organization.zero_data_retention
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        decide(world, 3, request)
    assert decide(world, 4, request).state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert policy(world).organization.zero_data_retention
    world.run_jobs()
    approvals = [entry for entry in world.peers.entries if entry.kind == "zero_data_retention.approved"]
    assert [entry.facts["approvals"] for entry in approvals] == ["1", "1", "2"]


def test_a_voice_for_the_end_counts_while_its_person_could_give_it(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    end(world, 4, request)
    world.peers.lapsed.add(person(4))
    assert not end(world, 5, request).HasField("ends_at"), "one voice of two"
    assert end(world, 6, request).end_cause == contract.ZERO_DATA_RETENTION_END_VENDOR


def test_an_approval_counts_for_72_hours(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    decide(world, 2, request)
    world.clock.advance(VOICE - MOMENT)
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        decide(world, 2, request)
    world.clock.advance(MOMENT)
    waiting = decide(world, 3, request)
    assert waiting.state == contract.ZERO_DATA_RETENTION_STATE_REQUESTED, "one voice of two"
    assert not policy(world).organization.zero_data_retention
    world.clock.advance(VOICE - MOMENT)
    done = decide(world, 2, request)  # again: the first time counts no more
    assert done.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert list(done.approved_by) == [person(2), person(3)]
    world.run_jobs()
    approvals = [entry for entry in world.peers.entries if entry.kind == "zero_data_retention.approved"]
    assert [entry.facts["approvals"] for entry in approvals] == ["1", "1", "2"]


def test_a_voice_for_the_end_counts_for_72_hours(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    end(world, 4, request)
    world.clock.advance(VOICE)
    second = end(world, 5, request)
    assert not second.HasField("ends_at"), "one voice of two"
    assert list(second.end_approved_by) == [person(5)]
    world.clock.advance(VOICE - MOMENT)
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        end(world, 5, request)
    done = end(world, 4, request)  # again
    assert list(done.end_approved_by) == [person(5), person(4)]
    assert done.end_cause == contract.ZERO_DATA_RETENTION_END_VENDOR


def test_a_voice_for_the_end_without_its_instant_counts_for_nothing(world: World) -> None:
    """As a process of the version before writes it down, beside one that does not."""
    admin = world.admin()
    request = approved(world, admin)
    end(world, 4, request)
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE zero_data_retention_requests SET end_approved_by = end_approved_by || %s::text",
            (person(5),),
        )
    world.clock.advance(VOICE - MOMENT)
    world.peers.lapsed.add(person(4))
    assert not end(world, 6, request).HasField("ends_at"), "one voice of two"
    assert end(world, 5, request).HasField("ends_at"), "who had spoken to it speaks again"


@pytest.mark.parametrize("hours", [71, 73])
def test_a_voice_from_before_its_instant_was_kept_counts_from_the_migration_on(
    world: World, hours: int
) -> None:
    admin = world.admin()
    request = approved(world, admin)
    end(world, 4, request)
    migration = import_module("services.settings.migrations.versions.0019_zero_data_retention_voices")
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE zero_data_retention_requests DROP COLUMN end_approved_at")
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()
        migrated_at = connection.exec_driver_sql("SELECT now()").scalar_one()
    world.clock.advance(migrated_at + timedelta(hours=hours) - world.clock.now())
    assert end(world, 5, request).HasField("ends_at") is (hours < 72)


@pytest.fixture
def hasty(url: str) -> Iterator[World]:
    """Without a notice."""
    made = World(url, zero_data_retention_notice_days=0)
    yield made
    made.database.close()


def test_what_an_admin_ended_first_does_not_end_twice(hasty: World) -> None:
    admin = hasty.admin()
    request = approved(hasty, admin)
    end(hasty, 4, request)
    end(hasty, 5, request)
    ended = end(hasty, admin, request)
    hasty.run_jobs()
    assert policy(hasty).effective_at == ended.end_effective_at
    assert hasty.kinds(admin.organization_id).count("zero_data_retention.ended") == 1


def test_a_closed_organization_ends_nothing(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    world.peer("retention").lifecycle.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=admin.organization_id, erasure_id=ERASURE)
    )
    with refused(reasons_pb2.REASON_CLOSED):
        end(world, admin, request)


def test_a_copy_for_an_end_user_says_why_it_has_no_content(world: World) -> None:
    admin = world.admin()
    assert not ask_for_subject(world, admin, EXPORT).records.note
    request = approved(world, admin)
    note = ask_for_subject(world, admin, EXPORT, request_id="r-2").records.note
    assert f"{request.effective_at.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC" in note
    assert not ask_for_subject(world, admin, FIND, request_id="r-3").records.note, "log data is all there"
    end(world, admin, request)
    world.clock.advance(timedelta(days=1))
    then = ask_for_subject(world, admin, EXPORT, request_id="r-4").records.note
    assert "UTC until" in then, "records of then are still without content"
    approved(world, admin)
    assert " UTC, and from " in ask_for_subject(world, admin, EXPORT, request_id="r-5").records.note


def test_an_earlier_version_can_still_be_read_and_not_accepted(tmp_path: Path) -> None:
    file = tmp_path / "commitments.toml"
    text = 'version = "2"\n[[commitments]]\nname = "a"\ntext = "A."\n'
    file.write_text(text + '[[earlier]]\nversion = "1"\n[[earlier.commitments]]\nname = "b"\ntext = "B."\n')
    known = load(file)
    assert known.of("1").commitments == (Commitment("b", "B."),)
    assert known.of("") is known
    with refused(reasons_pb2.REASON_COMMITMENTS_NOT_ACCEPTED):
        known.require_accepted("1", ["b"])
    for wrong in (
        text.replace('"a"', '"A b"'),
        text.replace('"2"', '""'),
        text + text.partition("\n")[2],
        text + '[[earlier]]\nversion = "2"\n[[earlier.commitments]]\nname = "b"\ntext = "B."\n',
        'version = "2"\ncommitments = []\n',
    ):
        file.write_text(wrong)
        with pytest.raises(ValueError, match="commitments"):
            load(file)

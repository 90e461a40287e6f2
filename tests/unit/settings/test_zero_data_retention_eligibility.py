"""Who has zero data retention and is not eligible any more: told with a date, kept until then, and for good if that changes in time."""

from datetime import UTC, timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import lifecycle_pb2, members_pb2, organizations_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from tests.unit.settings.test_zero_data_retention import approved, ask, decide, end, policy
from tests.unit.settings.test_zero_data_retention_erasure import shown
from tests.unit.settings.world import ERASURE, World, refused

NOTICE = timedelta(days=30)
TRIAL, PAYING = organizations_pb2.TIER_TRIAL, organizations_pb2.TIER_PAYING


def become(world: World, admin: members_pb2.Member, tier: "organizations_pb2.Tier.ValueType") -> None:
    """The card on file is gone, or is there again."""
    stub = world.staff().organizations
    known = stub.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=admin.organization_id)
    )
    stub.UpdateOrganization(
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=admin.organization_id, etag=known.organization.etag, tier=tier
        )
    )
    world.run_jobs()


def test_it_ends_with_a_notice_and_at_the_instant_that_it_named(world: World) -> None:
    admin = world.admin()
    approved(world, admin)
    become(world, admin, TRIAL)
    told = shown(world, admin)
    assert told.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert told.end_cause == contract.ZERO_DATA_RETENTION_END_NOT_ELIGIBLE
    assert told.ends_at.ToDatetime(UTC) == world.clock.now() + NOTICE
    assert policy(world).organization.zero_data_retention
    assert policy(world).organization.tier == TRIAL
    world.run_jobs()
    assert shown(world, admin) == told, "the date does not move"
    world.clock.advance(NOTICE - timedelta(microseconds=1))
    world.run_jobs()
    assert policy(world).organization.zero_data_retention
    world.clock.advance(timedelta(microseconds=1))
    world.run_jobs()
    ended = shown(world, admin)
    assert ended.state == contract.ZERO_DATA_RETENTION_STATE_ENDED
    assert not policy(world).organization.zero_data_retention
    assert ended.end_effective_at == policy(world).effective_at
    kinds = world.kinds(admin.organization_id)
    assert kinds.count("zero_data_retention.end_announced") == kinds.count("zero_data_retention.ended") == 1
    [announced] = [one for one in world.peers.entries if one.kind == "zero_data_retention.end_announced"]
    assert announced.facts["cause"] == "ZERO_DATA_RETENTION_END_NOT_ELIGIBLE"


@pytest.mark.parametrize("late", [False, True], ids=["in time", "at the last moment"])
def test_eligible_again_in_time_it_stays(world: World, late: bool) -> None:
    admin = world.admin()
    approved(world, admin)
    become(world, admin, TRIAL)
    world.clock.advance(NOTICE - timedelta(days=1))
    if late:  # nothing looked in between, and both jobs find the same: whichever is first
        world.clock.advance(timedelta(days=1))
    become(world, admin, PAYING)
    stays = shown(world, admin)
    assert stays.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert not stays.HasField("ends_at")
    assert stays.end_cause == contract.ZERO_DATA_RETENTION_END_UNSPECIFIED
    world.clock.advance(2 * NOTICE)
    world.run_jobs()
    assert policy(world).organization.zero_data_retention
    assert world.kinds(admin.organization_id).count("zero_data_retention.end_called_off") == 1
    # Another loss is another notice, of its full length.
    become(world, admin, TRIAL)
    assert shown(world, admin).ends_at.ToDatetime(UTC) == world.clock.now() + NOTICE


def test_the_vendors_own_notice_is_of_full_length_and_is_not_called_off(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    become(world, admin, TRIAL)
    world.clock.advance(timedelta(days=10))
    end(world, 4, request)
    given = end(world, 5, request)
    assert given.end_cause == contract.ZERO_DATA_RETENTION_END_VENDOR
    assert given.ends_at.ToDatetime(UTC) == world.clock.now() + NOTICE
    become(world, admin, PAYING)
    assert shown(world, admin) == given


def test_the_admin_can_still_end_it_at_once(world: World) -> None:
    admin = world.admin()
    request = approved(world, admin)
    become(world, admin, TRIAL)
    assert end(world, admin, request).state == contract.ZERO_DATA_RETENTION_STATE_ENDED


def test_what_only_waits_is_not_approved_and_what_is_closed_gets_no_notice(world: World) -> None:
    admin = world.admin()
    request = ask(world, admin)
    become(world, admin, TRIAL)
    with refused(reasons_pb2.REASON_NOT_ELIGIBLE):
        decide(world, 2, request)
    assert shown(world, admin).state == contract.ZERO_DATA_RETENTION_STATE_REQUESTED
    other = world.admin("other")
    approved(world, other)
    world.peer("retention").lifecycle.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=other.organization_id, erasure_id=ERASURE)
    )
    with world.database.transaction() as tx:
        tx.exec_driver_sql("UPDATE organizations SET tier = 2")
    world.run_jobs()
    assert "zero_data_retention.end_announced" not in world.kinds(other.organization_id)

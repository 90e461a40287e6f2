"""What was logged before zero data retention: that the request says what becomes of it, that retention is told once everybody knows, and
that the end never asks for a key that is gone."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from kept.settings.v1 import members_pb2, policies_pb2
from kept.settings.v1 import zero_data_retention_pb2 as contract
from shared.errors import KeptError, peer_unavailable
from tests.unit.settings.test_subject_requests import EXPORT
from tests.unit.settings.test_subject_requests import ask as ask_for_subject
from tests.unit.settings.test_zero_data_retention import CURRENT, NAMES, decide, end, policy
from tests.unit.settings.world import ERASURE, World


def ask_and_erase(world: World, admin: members_pb2.Member) -> contract.ZeroDataRetentionRequest:
    return (
        world.customer(admin)
        .zdr.RequestZeroDataRetention(
            contract.RequestZeroDataRetentionRequest(
                organization_id=admin.organization_id,
                commitments_version=CURRENT.version,
                accepted_commitments=NAMES,
                erase_logged_before=True,
            )
        )
        .request
    )


def approved_with_erasure(world: World, admin: members_pb2.Member) -> contract.ZeroDataRetentionRequest:
    request = ask_and_erase(world, admin)
    decide(world, 2, request)
    return decide(world, 3, request)


def shown(world: World, admin: members_pb2.Member) -> contract.ZeroDataRetentionRequest:
    """The newest, as the admin sees it."""
    listed = contract.ListZeroDataRetentionRequestsRequest(organization_id=admin.organization_id)
    return world.customer(admin).zdr.ListZeroDataRetentionRequests(listed).requests[0]


def changes(world: World) -> list[policies_pb2.PolicyChange]:
    answer = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    return list(answer.changes)


def test_both_deciders_see_what_the_request_says_and_retention_is_told_of_the_instant(world: World) -> None:
    admin = world.admin()
    request = ask_and_erase(world, admin)
    [waiting] = (
        world.staff(2)
        .zdr.ListZeroDataRetentionRequests(contract.ListZeroDataRetentionRequestsRequest())
        .requests
    )
    assert waiting.erase_logged_before
    assert decide(world, 2, request).erase_logged_before
    world.run_jobs()
    assert not world.peers.contents, "one voice decides nothing"
    assert not policy(world).organization.HasField("content_erased_before")
    second = decide(world, 3, request)
    world.run_jobs()
    [order] = world.peers.contents
    assert (order.request_id, order.organization_id, order.requested_by) == (
        request.zero_data_retention_request_id,
        admin.organization_id,
        admin.member_id,
    )
    assert order.before == second.effective_at
    # Two changes: the second names the instant at which the first counts, and counts no earlier.
    first, then = changes(world)[-2:]
    assert first.organization.zero_data_retention
    assert then.organization.zero_data_retention
    assert not first.organization.HasField("content_erased_before")
    assert then.organization.content_erased_before == first.effective_at == second.effective_at
    assert then.effective_at.ToDatetime(UTC) >= first.effective_at.ToDatetime(UTC)
    assert shown(world, admin).erasure_id == ERASURE
    [asked] = [entry for entry in world.peers.entries if entry.kind == "zero_data_retention.requested"]
    assert asked.facts["erase_logged_before"] == "true"


def test_what_is_not_asked_for_is_not_erased(world: World) -> None:
    admin = world.admin()
    request = world.customer(admin).zdr.RequestZeroDataRetention(
        contract.RequestZeroDataRetentionRequest(
            organization_id=admin.organization_id,
            commitments_version=CURRENT.version,
            accepted_commitments=NAMES,
        )
    )
    decide(world, 2, request.request)
    assert not decide(world, 3, request.request).erase_logged_before
    world.run_jobs()
    assert not world.peers.contents
    assert not policy(world).organization.HasField("content_erased_before")


def test_an_order_that_fails_or_whose_answer_is_lost_is_given_again(world: World) -> None:
    admin = world.admin()
    world.peers.failing = peer_unavailable("retention")
    approved_with_erasure(world, admin)
    with suppress(KeptError):  # the outbox tells its job that it could not deliver
        world.run_jobs()
    assert not shown(world, admin).erasure_id
    world.peers.failing, world.peers.losing = None, True
    world.clock.advance(timedelta(minutes=10))
    with suppress(KeptError):
        world.run_jobs()
    world.peers.losing = False
    world.clock.advance(timedelta(minutes=10))
    world.run_jobs()
    assert shown(world, admin).erasure_id == ERASURE
    assert len(world.peers.contents) == 2
    assert world.peers.contents[0] == world.peers.contents[1]


def test_an_end_on_the_same_day_waits_for_the_next_days_keys(world: World) -> None:
    admin = world.admin()
    request = approved_with_erasure(world, admin)
    effective_at = request.effective_at.ToDatetime(UTC)
    midnight = datetime(effective_at.year, effective_at.month, effective_at.day, tzinfo=UTC) + timedelta(
        days=1
    )
    ending = end(world, admin, request)
    assert ending.state == contract.ZERO_DATA_RETENTION_STATE_APPROVED
    assert ending.ends_at.ToDatetime(UTC) == midnight
    assert ending.end_cause == contract.ZERO_DATA_RETENTION_END_ADMIN
    assert end(world, admin, request) == ending
    assert end(world, 4, request) == ending, "nothing is left for the vendor to end"
    world.clock.advance(midnight - world.clock.now() - timedelta(microseconds=1))
    world.run_jobs()
    assert policy(world).organization.zero_data_retention
    world.clock.advance(timedelta(microseconds=1))
    world.run_jobs()
    after = policy(world)
    assert not after.organization.zero_data_retention
    assert after.effective_at.ToDatetime(UTC) > midnight
    # What was to be erased stays so, whatever follows.
    assert after.organization.content_erased_before == request.effective_at
    kinds = world.kinds(admin.organization_id)
    assert kinds.count("zero_data_retention.end_announced") == 1
    assert kinds.count("zero_data_retention.ended") == 1


def test_a_notice_of_no_length_waits_for_the_next_days_keys_too(url: str) -> None:
    world = World(url, zero_data_retention_notice_days=0)
    admin = world.admin()
    request = approved_with_erasure(world, admin)
    end(world, 4, request)
    given = end(world, 5, request)
    assert given.ends_at.ToDatetime(UTC).date() == world.clock.now().date() + timedelta(days=1)
    world.run_jobs()
    assert policy(world).organization.zero_data_retention
    world.clock.advance(timedelta(days=1))
    world.run_jobs()
    assert not policy(world).organization.zero_data_retention
    world.database.close()


def test_an_end_on_a_later_day_is_at_once_and_a_second_time_erases_more(world: World) -> None:
    admin = world.admin()
    first = approved_with_erasure(world, admin)
    world.clock.advance(timedelta(days=1))
    ended = end(world, admin, first)
    assert ended.state == contract.ZERO_DATA_RETENTION_STATE_ENDED
    world.clock.advance(timedelta(days=1))
    second = approved_with_erasure(world, admin)
    world.run_jobs()
    assert policy(world).organization.content_erased_before == second.effective_at
    assert [order.before for order in world.peers.contents] == [first.effective_at, second.effective_at]


def test_a_copy_for_an_end_user_says_what_was_erased(world: World) -> None:
    admin = world.admin()
    request = approved_with_erasure(world, admin)
    note = ask_for_subject(world, admin, EXPORT).records.note
    assert f"logged before {request.effective_at.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC is erased too" in note

"""More time under a grant: asked for while it is in force, decided like the grant, never more than a day in all."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from kept.access_control.v1 import grants_pb2
from shared.ids import new_record_id
from tests.unit.access_control.world import (
    DAY,
    ENGINEER,
    MINUTE,
    ORG,
    World,
    asked,
    migrated_vault,
    refusal,
    world,
)

__all__ = ["migrated_vault", "world"]

APPROVED = grants_pb2.GRANT_STATE_APPROVED


@pytest.fixture
def grant(world: World) -> grants_pb2.Grant:
    """Eve's, approved by Ada; Bob could approve too."""
    for name in ("eve", "ada", "bob"):
        world.person(name, ENGINEER)
    return world.approve("ada", world.request("eve"))


def extend(world: World, grant: grants_pb2.Grant, minutes: int = 30, who: str = "eve") -> grants_pb2.Grant:
    """Asks for more time."""
    request = grants_pb2.ExtendGrantRequest(grant_id=grant.grant_id, reason="not found yet")
    request.duration.FromTimedelta(minutes * MINUTE)
    return world.grants(who).ExtendGrant(request).grant


def ends(grant: grants_pb2.Grant) -> datetime:
    """When it ends."""
    return grant.expires_at.ToDatetime()


def named(grant: grants_pb2.Grant, **rest: Any) -> dict[str, Any]:
    """The fields that every decision has."""
    return {"grant_id": grant.grant_id, **rest}


def test_it_lasts_longer_once_a_colleague_approved_that(world: World, grant: grants_pb2.Grant) -> None:
    world.advance(20 * MINUTE)
    waiting = extend(world, grant)
    assert (waiting.state, ends(waiting), waiting.missing_staff_approvals) == (APPROVED, ends(grant), 1)
    assert waiting.extension.reason == "not found yet"

    longer = world.approve("bob", grant)
    assert ends(longer) == ends(grant) + 30 * MINUTE
    assert not longer.HasField("extension")
    world.advance(20 * MINUTE)  # past the first end
    assert world.authorize("eve", grant.grant_id).scope.organization_id == ORG
    world.advance(20 * MINUTE)
    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_EXPIRED"
    assert [entry["facts"]["extension_seconds"] for entry in world.entries("grant.extended")] == ["1800"]


def test_without_an_approval_it_ends_when_it_would_have(world: World, grant: grants_pb2.Grant) -> None:
    extend(world, grant)
    world.advance(30 * MINUTE)

    assert refusal(lambda: world.authorize("eve", grant.grant_id)) == "GRANT_EXPIRED"
    assert refusal(lambda: world.approve("bob", grant)) == "WRONG_STATE"
    assert refusal(lambda: extend(world, grant)) == "GRANT_EXPIRED"


def test_nobody_extends_their_own_or_anothers(world: World, grant: grants_pb2.Grant) -> None:
    assert refusal(lambda: extend(world, grant, who="bob")) == "NOT_FOUND"
    extend(world, grant)

    assert refusal(lambda: world.approve("eve", grant)) == "SECOND_PERSON_REQUIRED"


def test_it_needs_all_the_approvals_that_the_grant_needs(world: World, grant: grants_pb2.Grant) -> None:
    full = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    for name in ("ada", "bob"):
        full = world.approve(name, full)
    extend(world, full)

    once = world.approve("ada", full)
    assert (ends(once), once.missing_staff_approvals) == (ends(full), 1)
    assert world.approve("ada", full).missing_staff_approvals == 1  # the same person counts once
    assert ends(world.approve("bob", full)) == ends(full) + 30 * MINUTE


def test_it_rests_on_who_approved_the_extension(world: World, grant: grants_pb2.Grant) -> None:
    extend(world, grant)
    longer = world.approve("bob", grant)

    assert [one.approved_by for one in grant.approvals] != [one.approved_by for one in longer.approvals]


def test_the_same_again_is_the_same_and_another_waits(world: World, grant: grants_pb2.Grant) -> None:
    first = extend(world, grant)

    assert extend(world, grant).extension == first.extension
    assert refusal(lambda: extend(world, grant, minutes=5)) == "WRONG_STATE"
    assert len(world.entries("grant.extension_requested")) == 1


def test_a_day_is_the_most(world: World, grant: grants_pb2.Grant) -> None:
    for _ in range(2):
        world.advance(MINUTE)
        extend(world, grant, minutes=480)
        grant = world.approve("bob", grant)
    begins = grant.valid_from.ToDatetime()
    left = (begins + DAY - ends(grant)) // MINUTE

    assert refusal(lambda: extend(world, grant, minutes=left + 1)) == "INVALID_ARGUMENT"
    assert extend(world, grant, minutes=left).extension.duration.ToTimedelta() == left * MINUTE


@pytest.mark.parametrize("who", ["ada", "eve"])
def test_denied_or_taken_back_it_waits_no_more_and_votes_are_forgotten(
    world: World, grant: grants_pb2.Grant, who: str
) -> None:
    full = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    for name in ("ada", "bob"):
        full = world.approve(name, full)
    extend(world, full)
    world.approve("bob", full)
    if who == "eve":
        world.grants("eve").CancelGrant(grants_pb2.CancelGrantRequest(**named(full)))
    else:
        world.grants("ada").DenyGrant(grants_pb2.DenyGrantRequest(**named(full, reason="enough")))

    seen = world.grants("eve").GetGrant(grants_pb2.GetGrantRequest(**named(full))).grant
    assert (seen.state, ends(seen), seen.HasField("extension")) == (APPROVED, ends(full), False)
    extend(world, full)
    assert world.approve("ada", full).missing_staff_approvals == 1


def test_an_approver_may_give_less_time_and_no_more(world: World, grant: grants_pb2.Grant) -> None:
    extend(world, grant)

    def approve(**less: timedelta) -> grants_pb2.Grant:
        request = grants_pb2.ApproveGrantRequest(**named(grant))
        request.narrowing.duration.FromTimedelta(less["duration"])
        return world.grants("bob").ApproveGrant(request).grant

    assert refusal(lambda: approve(duration=31 * MINUTE)) == "INVALID_ARGUMENT"
    assert ends(approve(duration=5 * MINUTE)) == ends(grant) + 5 * MINUTE


def test_the_budget_stays_what_it_was(world: World, grant: grants_pb2.Grant) -> None:
    small = world.approve("ada", world.request("eve", budget=1))
    world.open("eve", small.grant_id, new_record_id(world.clock.now()))
    extend(world, small)
    world.approve("bob", small)

    assert (
        refusal(lambda: world.open("eve", small.grant_id, new_record_id(world.clock.now())))
        == "BUDGET_EXHAUSTED"
    )


def test_a_request_that_is_not_approved_is_not_extended(world: World, grant: grants_pb2.Grant) -> None:
    waiting = world.grants("eve").RequestGrant(asked()).grant

    assert refusal(lambda: extend(world, waiting)) == "GRANT_NOT_ACTIVE"


def test_an_approval_is_of_what_its_etag_was_shown_with(world: World, grant: grants_pb2.Grant) -> None:
    def seen() -> grants_pb2.Grant:
        return world.grants("bob").GetGrant(grants_pb2.GetGrantRequest(**named(grant))).grant

    def approve(etag: str) -> grants_pb2.Grant:
        request = grants_pb2.ApproveGrantRequest(**named(grant, etag=etag))
        return world.grants("bob").ApproveGrant(request).grant

    extend(world, grant, minutes=1)
    shown = seen()
    assert shown.etag != grant.etag
    assert refusal(lambda: approve(grant.etag)) == "CONFLICT", "that was the request itself"
    world.grants("eve").CancelGrant(grants_pb2.CancelGrantRequest(**named(grant)))
    world.advance(MINUTE)
    extend(world, grant, minutes=480)
    assert refusal(lambda: approve(shown.etag)) == "CONFLICT"
    assert ends(seen()) == ends(grant)
    assert ends(approve(seen().etag)) == ends(grant) + 480 * MINUTE
    assert refusal(lambda: approve(seen().etag)) == "WRONG_STATE"


def test_two_approve_at_once_what_both_were_shown_and_what_one_narrowed_is_read_again(
    world: World, grant: grants_pb2.Grant
) -> None:
    full = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    same = grants_pb2.ApproveGrantRequest(**named(full, etag=full.etag))
    states = [world.grants(name).ApproveGrant(same).grant.state for name in ("ada", "bob")]
    assert states == [grants_pb2.GRANT_STATE_REQUESTED, APPROVED]
    full = world.request("eve", detail=grants_pb2.DETAIL_FULL)
    less = grants_pb2.ApproveGrantRequest(**named(full, etag=full.etag))
    less.narrowing.budget = 1
    half = world.grants("ada").ApproveGrant(less).grant
    stale = grants_pb2.ApproveGrantRequest(**named(full, etag=full.etag))
    assert refusal(lambda: world.grants("bob").ApproveGrant(stale)) == "CONFLICT"
    assert world.approve("bob", half).state == APPROVED

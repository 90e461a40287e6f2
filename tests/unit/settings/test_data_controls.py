"""Data controls: admins only, one at a time, and a history that is only added to."""

from datetime import timedelta
from typing import Any

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import data_controls_pb2 as contract
from kept.settings.v1 import members_pb2, policies_pb2
from shared.errors import KeptError
from tests.unit.settings.test_zero_data_retention import approved
from tests.unit.settings.world import World, refused


def current(world: World, member: members_pb2.Member) -> contract.DataControls:
    return (
        world.customer(member)
        .controls.GetDataControls(contract.GetDataControlsRequest(organization_id=member.organization_id))
        .controls
    )


def update(
    world: World, member: members_pb2.Member, etag: str, **controls: bool
) -> contract.DataControlsChange:
    return (
        world.customer(member)
        .controls.UpdateDataControls(
            contract.UpdateDataControlsRequest(organization_id=member.organization_id, etag=etag, **controls)
        )
        .change
    )


def versions(world: World) -> list[policies_pb2.PolicyChange]:
    answer = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    return list(answer.changes)


def test_a_member_is_refused_and_told_who_the_admins_are(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED) as caught:
        update(world, member, current(world, member).etag, training_allowed=False)
    assert caught[0].metadata == {"admins": "Ada Admin"}
    assert current(world, member).training_allowed


def test_without_an_admin_the_support_contact_is_named(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM members WHERE role = 2")
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED) as caught:
        update(world, member, current(world, member).etag, training_allowed=False)
    assert caught[0].metadata == {"support": "help@vendor.test"}


def test_training_counts_from_acceptance_and_needs_no_feed(world: World) -> None:
    admin = world.admin()
    before = versions(world)
    world.clock.advance(timedelta(hours=1))
    change = update(world, admin, current(world, admin).etag, training_allowed=False)
    assert change.accepted_at.ToDatetime() == world.clock.now().replace(tzinfo=None)
    assert change.changed_by == admin.member_id
    assert versions(world) == before
    world.clock.step(timedelta(hours=-5))
    again = update(world, admin, change.controls.etag, training_allowed=True)
    assert again.accepted_at.ToDatetime() > change.accepted_at.ToDatetime(), "a stepped clock keeps the order"
    intervals = (
        world.customer(admin)
        .policies.GetConsentHistory(
            policies_pb2.GetConsentHistoryRequest(organization_id=admin.organization_id)
        )
        .intervals
    )
    assert [interval.training_allowed for interval in intervals] == [True, False, True]
    assert [interval.HasField("until") for interval in intervals] == [True, True, False]
    assert intervals[0].until == change.accepted_at == getattr(intervals[1], "from")


def test_customer_approval_counts_from_an_instant_that_the_feed_gives(world: World) -> None:
    admin = world.admin()
    change = update(world, admin, current(world, admin).etag, require_customer_approval=True)
    newest = versions(world)[-1]
    assert newest.organization.require_customer_approval
    assert newest.effective_at == change.effective_at
    off = update(world, admin, change.controls.etag, training_allowed=False)
    assert off.effective_at == change.effective_at, "the rest did not change"
    assert off.controls.require_customer_approval


def test_the_feed_grows_by_a_hundred_changes_a_day_and_training_is_turned_off_all_the_same(
    world: World,
) -> None:
    admin = world.admin()
    world.clock.advance(timedelta(days=1))  # the controls that it began with count as one
    is_required, etag = False, current(world, admin).etag
    for _ in range(100):
        is_required = not is_required
        etag = update(world, admin, etag, require_customer_approval=is_required).controls.etag
        world.clock.advance(timedelta(minutes=1))
    before = versions(world)
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN) as caught:
        update(world, admin, etag, require_customer_approval=not is_required)
    assert caught[0].retry_after == timedelta(days=1) - 100 * timedelta(minutes=1)
    assert versions(world) == before
    etag = update(world, admin, etag, training_allowed=False).controls.etag
    world.clock.advance(timedelta(days=1) - 98 * timedelta(minutes=1))
    changed = update(world, admin, etag, require_customer_approval=not is_required)
    assert changed.controls.require_customer_approval is not is_required


def test_a_call_that_turns_training_off_does_not_wait_whatever_else_it_carries(world: World) -> None:
    admin = world.admin()
    is_required, etag = False, current(world, admin).etag
    for _ in range(99):  # the controls that it began with count as one
        is_required = not is_required
        etag = update(world, admin, etag, require_customer_approval=is_required).controls.etag
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        update(world, admin, etag, training_allowed=True, require_customer_approval=not is_required)
    off = update(world, admin, etag, training_allowed=False, require_customer_approval=not is_required)
    assert not current(world, admin).training_allowed
    assert versions(world)[-1].effective_at == off.effective_at
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):  # off already: nobody waits for that
        update(world, admin, off.controls.etag, training_allowed=False, require_customer_approval=is_required)
    # Who could turn it on could turn it off again with another change, and so on.
    with refused(reasons_pb2.REASON_ASKED_TOO_OFTEN):
        update(world, admin, off.controls.etag, training_allowed=True)


def test_what_no_process_is_told_of_does_not_count(world: World) -> None:
    admin = world.admin()
    is_allowed, etag = True, current(world, admin).etag
    for _ in range(101):
        is_allowed = not is_allowed
        etag = update(world, admin, etag, training_allowed=is_allowed).controls.etag
    assert update(world, admin, etag, require_customer_approval=True).controls.require_customer_approval


def test_an_old_etag_changes_nothing_and_learns_the_current_one(world: World) -> None:
    admin = world.admin()
    old = current(world, admin).etag
    new = update(world, admin, old, training_allowed=False).controls.etag
    with refused(reasons_pb2.REASON_CONFLICT) as caught:
        update(world, admin, old, training_allowed=True)
    assert caught[0].metadata == {"etag": new}
    assert not current(world, admin).training_allowed


def test_the_same_value_again_adds_no_entry(world: World) -> None:
    admin = world.admin()
    etag = current(world, admin).etag
    assert update(world, admin, etag, training_allowed=True).controls.etag == etag
    assert world.kinds(admin.organization_id).count("data_controls.updated") == 0


def test_of_two_admins_at_once_the_second_is_told_of_the_first(world: World) -> None:
    admin = world.admin()
    etag = current(world, admin).etag
    first = (
        f"SELECT 1 FROM organizations WHERE organization_id = '{admin.organization_id}' FOR UPDATE;"
        "INSERT INTO data_controls_changes SELECT organization_id, 2, false, true, accepted_at, effective_at, 'member_x'"
        " FROM data_controls_changes"
    )
    outcome = world.during(first, lambda: update(world, admin, etag, training_allowed=False))
    assert isinstance(outcome, KeptError)
    assert outcome.name == "CONFLICT"
    assert outcome.metadata["etag"] == current(world, admin).etag


def test_the_history_pages_from_the_oldest(world: World) -> None:
    admin = world.admin()
    etag = current(world, admin).etag
    for allowed in (False, True, False):
        etag = update(world, admin, etag, training_allowed=allowed).controls.etag
    request = contract.ListDataControlsHistoryRequest(organization_id=admin.organization_id, page_size=3)
    first = world.customer(admin).controls.ListDataControlsHistory(request)
    request.page_token = first.next_page_token
    rest = world.customer(admin).controls.ListDataControlsHistory(request)
    assert [change.controls.training_allowed for change in [*first.changes, *rest.changes]] == [
        True,
        False,
        True,
        False,
    ]
    assert rest.next_page_token == ""


def test_a_watch_tells_every_change_in_order_and_goes_on_where_it_was(world: World) -> None:
    admin = world.admin()
    member = world.colleague(admin)
    stub = world.customer(member).controls
    wanted = contract.WatchDataControlsRequest(organization_id=admin.organization_id)
    stream: Any = stub.WatchDataControls(wanted)
    first = next(stream).change
    assert first.controls == current(world, member)
    made = [
        update(world, admin, current(world, admin).etag, training_allowed=allowed)
        for allowed in (False, True)
    ]
    assert [next(stream).change for _ in made] == made
    stream.cancel()
    wanted.after_etag = first.controls.etag
    again: Any = stub.WatchDataControls(wanted)
    assert [next(again).change for _ in made] == made
    with world.database.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM members WHERE member_id = '{member.member_id}'")
    with refused(reasons_pb2.REASON_UNAUTHENTICATED):
        next(again)


def test_nobody_watches_anothers_controls(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    wanted = contract.WatchDataControlsRequest(organization_id=admin.organization_id)
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        list(world.customer(other).controls.WatchDataControls(wanted))
    wanted.after_etag = "yesterday"
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        list(world.customer(admin).controls.WatchDataControls(wanted))


def test_controls_say_that_there_is_nothing_to_train_on(world: World) -> None:
    admin = world.admin()
    wanted = contract.GetDataControlsRequest(organization_id=admin.organization_id)
    assert not world.customer(admin).controls.GetDataControls(wanted).notes
    approved(world, admin)
    [note] = world.customer(admin).controls.GetDataControls(wanted).notes
    assert note.startswith("Zero data retention is in force from ")
    assert note.endswith("nothing of then to train on.")

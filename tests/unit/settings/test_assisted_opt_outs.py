"""Training turned off where no admin can be reached: two people, off only, in the same history, and the admins see it."""

from datetime import timedelta

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import data_controls_pb2 as contract
from kept.settings.v1 import members_pb2, policies_pb2
from tests.unit.settings.test_data_controls import current, update
from tests.unit.settings.world import World, person, refused


def begin(world: World, organization_id: str, by: int = 2) -> contract.AssistedOptOut:
    return (
        world.staff(by)
        .controls.RequestAssistedOptOut(
            contract.RequestAssistedOptOutRequest(
                organization_id=organization_id, reason="their counsel asked, by letter"
            )
        )
        .opt_out
    )


def decide(
    world: World, opt_out: contract.AssistedOptOut, by: int = 3, approve: bool = True
) -> contract.DecideAssistedOptOutResponse:
    return world.staff(by).controls.DecideAssistedOptOut(
        contract.DecideAssistedOptOutRequest(
            assisted_opt_out_id=opt_out.assisted_opt_out_id, approve=approve, reason="seen"
        )
    )


def history(world: World, admin: members_pb2.Member) -> list[contract.DataControlsChange]:
    return list(
        world.customer(admin)
        .controls.ListDataControlsHistory(
            contract.ListDataControlsHistoryRequest(organization_id=admin.organization_id)
        )
        .changes
    )


def test_two_people_turn_training_off_and_the_history_says_so(world: World) -> None:
    admin = world.admin()
    opt_out = begin(world, admin.organization_id)
    assert opt_out.admins == 1
    assert current(world, admin).training_allowed, "one person turns off nothing"
    with refused(reasons_pb2.REASON_SECOND_PERSON_REQUIRED):
        decide(world, opt_out, by=2)
    world.clock.advance(timedelta(hours=1))
    answer = decide(world, opt_out)
    assert answer.opt_out.state == contract.ASSISTED_OPT_OUT_STATE_APPROVED
    assert answer.change.changed_by == person(3)
    assert answer.change.accepted_at == answer.opt_out.decided_at, "it counts from its acceptance on"
    assert history(world, admin)[-1] == answer.change
    assert answer.change.assisted_opt_out_id == opt_out.assisted_opt_out_id
    assert not current(world, admin).training_allowed
    consent = world.peer("training").policies.GetConsentHistory(
        policies_pb2.GetConsentHistoryRequest(organization_id=admin.organization_id)
    )
    assert [interval.training_allowed for interval in consent.intervals] == [True, False]
    with refused(reasons_pb2.REASON_WRONG_STATE):
        decide(world, opt_out, by=4)
    with refused(reasons_pb2.REASON_WRONG_STATE):
        begin(world, admin.organization_id)
    kinds = world.kinds(admin.organization_id)
    assert kinds[-3:] == ["assisted_opt_out.requested", "assisted_opt_out.decided", "data_controls.updated"]
    assert "letter" not in str(world.peers.entries), "who wrote may be named in it"


def test_only_an_admin_turns_it_on_again_and_that_is_no_assisted_change(world: World) -> None:
    admin = world.admin()
    decide(world, begin(world, admin.organization_id))
    update(world, admin, current(world, admin).etag, training_allowed=True)
    assert [change.assisted_opt_out_id[:7] for change in history(world, admin)] == ["", "optout_", ""]


def test_a_denial_changes_nothing_and_who_began_it_may_take_it_back(world: World) -> None:
    admin = world.admin()
    opt_out = begin(world, admin.organization_id)
    with refused(reasons_pb2.REASON_ALREADY_EXISTS):
        begin(world, admin.organization_id, by=4)
    answer = decide(world, opt_out, by=2, approve=False)
    assert answer.opt_out.state == contract.ASSISTED_OPT_OUT_STATE_DENIED
    assert not answer.HasField("change")
    assert current(world, admin).training_allowed
    assert begin(world, admin.organization_id).assisted_opt_out_id != opt_out.assisted_opt_out_id


def test_where_an_admin_was_faster_there_is_nothing_to_change(world: World) -> None:
    admin = world.admin()
    opt_out = begin(world, admin.organization_id)
    update(world, admin, current(world, admin).etag, training_allowed=False)
    answer = decide(world, opt_out)
    assert answer.opt_out.state == contract.ASSISTED_OPT_OUT_STATE_APPROVED
    assert not answer.HasField("change")
    assert len(history(world, admin)) == 2


def test_an_etag_from_before_it_is_worth_nothing(world: World) -> None:
    admin = world.admin()
    etag = current(world, admin).etag
    decide(world, begin(world, admin.organization_id))
    with refused(reasons_pb2.REASON_CONFLICT):
        update(world, admin, etag, training_allowed=True)


def test_it_works_where_nobody_ever_registered(world: World) -> None:
    organization = world.organization().organization
    opt_out = begin(world, organization.organization_id)
    assert opt_out.admins == 0
    assert not decide(world, opt_out).change.controls.training_allowed


def test_admins_see_their_own_and_compliance_what_waits(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    done = decide(world, begin(world, admin.organization_id)).opt_out
    waiting = begin(world, other.organization_id)
    own = world.customer(admin).controls.ListAssistedOptOuts(
        contract.ListAssistedOptOutsRequest(organization_id=admin.organization_id)
    )
    assert list(own.opt_outs) == [done]
    all_ = world.staff(2).controls.ListAssistedOptOuts(contract.ListAssistedOptOutsRequest())
    assert list(all_.opt_outs) == [waiting]
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT):
        world.customer(admin).controls.ListAssistedOptOuts(contract.ListAssistedOptOutsRequest())
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        world.customer(admin).controls.ListAssistedOptOuts(
            contract.ListAssistedOptOutsRequest(organization_id=other.organization_id)
        )
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        world.customer(world.colleague(admin)).controls.ListAssistedOptOuts(
            contract.ListAssistedOptOutsRequest(organization_id=admin.organization_id)
        )
    with refused(reasons_pb2.REASON_CALLER_NOT_ALLOWED):
        world.customer(admin).controls.RequestAssistedOptOut(
            contract.RequestAssistedOptOutRequest(organization_id=admin.organization_id, reason="me")
        )


def test_bad_input_is_named(world: World) -> None:
    organization_id = world.organization().organization.organization_id
    with refused(reasons_pb2.REASON_NOT_FOUND):
        begin(world, "org_" + "0" * 26)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        decide(world, contract.AssistedOptOut(assisted_opt_out_id="optout_" + "0" * 26))
    with refused(reasons_pb2.REASON_INVALID_ARGUMENT) as caught:
        world.staff().controls.RequestAssistedOptOut(
            contract.RequestAssistedOptOutRequest(organization_id=organization_id)
        )
    assert {name for name, _ in caught[0].fields} == {"reason"}


def test_what_was_begun_by_who_could_not_any_more_is_denied_and_begun_anew(world: World) -> None:
    admin = world.admin()
    opt_out = begin(world, admin.organization_id)
    world.peers.lapsed.add(person(2))
    with refused(reasons_pb2.REASON_WRONG_STATE) as caught:
        decide(world, opt_out)
    assert caught[0].metadata == {"state": "VOICE_LAPSED"}
    assert current(world, admin).training_allowed
    decide(world, opt_out, approve=False)
    again = begin(world, admin.organization_id, by=3)
    assert decide(world, again, by=4).opt_out.state == contract.ASSISTED_OPT_OUT_STATE_APPROVED
    assert not current(world, admin).training_allowed


def test_what_was_begun_three_days_ago_is_denied_and_begun_anew(world: World) -> None:
    admin = world.admin()
    opt_out = begin(world, admin.organization_id)
    world.clock.advance(timedelta(hours=72))
    with refused(reasons_pb2.REASON_WRONG_STATE) as caught:
        decide(world, opt_out)
    assert caught[0].metadata == {"state": "VOICE_LAPSED"}
    assert current(world, admin).training_allowed
    decide(world, opt_out, approve=False)
    again = begin(world, admin.organization_id)
    world.clock.advance(timedelta(hours=72) - timedelta(microseconds=1))
    assert not decide(world, again).change.controls.training_allowed

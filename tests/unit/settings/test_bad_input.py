"""Each kind of bad input that settings was asked to withstand: a named reason, and not one row of its database is another than before."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import data_controls_pb2, members_pb2, organizations_pb2, zero_data_retention_pb2
from tests.unit.settings import test_account_deletion as account
from tests.unit.settings import test_zero_data_retention as zdr
from tests.unit.settings.test_assisted_opt_outs import begin, decide
from tests.unit.settings.test_data_controls import current, update
from tests.unit.settings.world import PASSWORD, World, refused

Refused = Callable[[], object]


def everything(world: World) -> str:
    """Every row of every table."""
    with world.database.transaction() as tx:
        tables = tx.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        ).scalars()
        return "\n".join(
            str(row)
            for name in tables.all()
            for row in tx.execute(text(f"SELECT t::text FROM {name} t ORDER BY 1"))
        )


def invite(world: World, admin: members_pb2.Member, email: str) -> members_pb2.InviteMemberResponse:
    return world.customer(admin).members.InviteMember(
        members_pb2.InviteMemberRequest(
            organization_id=admin.organization_id, email=email, role=roles_pb2.CUSTOMER_ROLE_MEMBER
        )
    )


def two_admins_at_once(world: World) -> Refused:
    admin = world.admin()
    etag = current(world, admin).etag
    update(world, admin, etag, training_allowed=False)
    return lambda: update(world, admin, etag, require_customer_approval=True)


def an_etag_from_yesterday(world: World) -> Refused:
    admin = world.admin()
    etag = current(world, admin).etag
    update(world, admin, etag, training_allowed=False)
    update(world, admin, current(world, admin).etag, training_allowed=True)
    world.clock.advance(timedelta(days=1))
    return lambda: update(world, admin, etag, training_allowed=False)


def a_homograph_domain(world: World) -> Refused:
    admin = world.admin()
    return lambda: invite(world, admin, "new@" + "xn--" + "\u0430cme".encode("punycode").decode() + ".test")


def an_address_of_300_characters(world: World) -> Refused:
    admin = world.admin()
    return lambda: invite(world, admin, "n" * 290 + "@acme.test")


def an_invitation_used_twice(world: World) -> Refused:
    token = invite(world, world.admin(), "new@acme.test").invitation_token
    world.register(token)
    return lambda: world.register(token, "Eve", "Else")


def a_confirmation_with_the_wrong_words(world: World) -> Refused:
    admin = world.admin()
    deletion = account.ask(world, admin)
    return lambda: account.confirm(world, admin, deletion, "delete it")


def an_admin_of_another_organization(world: World) -> Refused:
    admin, other = world.admin("acme"), world.admin("other")
    request = data_controls_pb2.UpdateDataControlsRequest(
        organization_id=admin.organization_id, etag=current(world, admin).etag, training_allowed=False
    )
    return lambda: world.customer(other).controls.UpdateDataControls(request)


def zero_data_retention_for_a_trial(world: World) -> Refused:
    admin = world.admin(tier=organizations_pb2.TIER_TRIAL)
    return lambda: zdr.ask(world, admin)


def approval_by_the_requester(world: World) -> Refused:
    opt_out = begin(world, world.admin().organization_id, by=2)
    return lambda: decide(world, opt_out, by=2)


def a_second_approval_by_the_first(world: World) -> Refused:
    request = zdr.ask(world, world.admin())
    zdr.decide(world, 2, request)
    return lambda: zdr.decide(world, 2, request)


def the_own_request_for_zero_data_retention(world: World) -> Refused:
    admin = world.admin()
    request = zero_data_retention_pb2.DecideZeroDataRetentionRequest(
        zero_data_retention_request_id=zdr.ask(world, admin).zero_data_retention_request_id,
        approve=True,
        reason="it is ours",
    )
    return lambda: world.customer(admin).zdr.DecideZeroDataRetention(request)


_BAD: dict[Callable[[World], Refused], "reasons_pb2.Reason.ValueType"] = {
    two_admins_at_once: reasons_pb2.REASON_CONFLICT,
    an_etag_from_yesterday: reasons_pb2.REASON_CONFLICT,
    a_homograph_domain: reasons_pb2.REASON_DECEPTIVE_ADDRESS,
    an_address_of_300_characters: reasons_pb2.REASON_INVALID_ARGUMENT,
    an_invitation_used_twice: reasons_pb2.REASON_INVITATION_INVALID,
    a_confirmation_with_the_wrong_words: reasons_pb2.REASON_CONFIRMATION_MISMATCH,
    an_admin_of_another_organization: reasons_pb2.REASON_WRONG_ORGANIZATION,
    zero_data_retention_for_a_trial: reasons_pb2.REASON_NOT_ELIGIBLE,
    approval_by_the_requester: reasons_pb2.REASON_SECOND_PERSON_REQUIRED,
    a_second_approval_by_the_first: reasons_pb2.REASON_SECOND_PERSON_REQUIRED,
    the_own_request_for_zero_data_retention: reasons_pb2.REASON_CALLER_NOT_ALLOWED,
}


@pytest.mark.parametrize("prepared", _BAD, ids=[each.__name__.replace("_", " ") for each in _BAD])
def test_it_is_refused_by_name_and_nothing_is_changed(
    world: World, prepared: Callable[[World], Refused]
) -> None:
    act = prepared(world)
    world.run_jobs()
    before = everything(world)
    with refused(_BAD[prepared]) as caught:
        act()
    assert everything(world) == before
    if _BAD[prepared] == reasons_pb2.REASON_CONFLICT:
        assert caught[0].status.name == "ABORTED"
        assert caught[0].metadata["etag"]
    assert PASSWORD not in str(caught[0])

"""The end of an account: typed, taken back while there is grace, handed over once, closed, erased with a receipt."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from kept.errors.v1 import reasons_pb2
from kept.settings.v1 import account_pb2 as contract
from kept.settings.v1 import (
    data_controls_pb2,
    lifecycle_pb2,
    members_pb2,
    organizations_pb2,
    policies_pb2,
)
from tests.unit.settings.world import ERASURE, PASSWORD, World, refused


@pytest.fixture
def hasty(url: str) -> Iterator[World]:
    """Without a grace period."""
    made = World(url, grace_days=0)
    yield made
    made.database.close()


def ask(world: World, admin: members_pb2.Member) -> contract.AccountDeletion:
    return (
        world.customer(admin)
        .account.RequestAccountDeletion(
            contract.RequestAccountDeletionRequest(organization_id=admin.organization_id)
        )
        .deletion
    )


def confirm(
    world: World, admin: members_pb2.Member, deletion: contract.AccountDeletion, sentence: str = ""
) -> contract.ConfirmAccountDeletionResponse:
    return world.customer(admin).account.ConfirmAccountDeletion(
        contract.ConfirmAccountDeletionRequest(
            account_deletion_id=deletion.account_deletion_id,
            confirmation_sentence=sentence or deletion.confirmation_sentence,
        )
    )


def cancel(
    world: World, admin: members_pb2.Member, deletion: contract.AccountDeletion
) -> contract.AccountDeletion:
    return (
        world.customer(admin)
        .account.CancelAccountDeletion(
            contract.CancelAccountDeletionRequest(account_deletion_id=deletion.account_deletion_id)
        )
        .deletion
    )


def close(world: World, organization_id: str) -> lifecycle_pb2.CloseOrganizationResponse:
    return world.peer("retention").lifecycle.CloseOrganization(
        lifecycle_pb2.CloseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )


def erase(world: World, organization_id: str) -> lifecycle_pb2.EraseOrganizationResponse:
    return world.peer("retention").lifecycle.EraseOrganization(
        lifecycle_pb2.EraseOrganizationRequest(organization_id=organization_id, erasure_id=ERASURE)
    )


def test_retention_hears_of_it_once_the_grace_is_over_and_not_before(world: World) -> None:
    admin = world.admin()
    deletion = ask(world, admin)
    assert ask(world, admin) == deletion, "asking again finds the same"
    with refused(reasons_pb2.REASON_CONFIRMATION_MISMATCH):
        confirm(world, admin, deletion, "Erase acme ltd for ever")
    confirmed = confirm(world, admin, deletion, "erase  Acme Ltd for ever ")
    assert confirmed.deletion.state == contract.ACCOUNT_DELETION_STATE_CONFIRMED
    with refused(reasons_pb2.REASON_WRONG_STATE):
        confirm(world, admin, deletion)
    world.clock.advance(timedelta(days=14) - timedelta(microseconds=1))
    world.run_jobs()
    assert world.peers.erasures == []
    world.clock.advance(timedelta(microseconds=1))
    with refused(reasons_pb2.REASON_WRONG_STATE):
        cancel(world, admin, deletion)
    world.run_jobs()
    world.run_jobs()
    [handed] = world.peers.erasures
    assert handed.organization_id == admin.organization_id
    assert handed.account_deletion_id == deletion.account_deletion_id
    assert handed.confirmed_by == admin.member_id
    assert handed.claim_sha256 == hashlib.sha256(confirmed.claim.encode()).digest()
    state = world.customer(admin).account.GetAccountDeletion(
        contract.GetAccountDeletionRequest(organization_id=admin.organization_id)
    )
    assert state.deletion.state == contract.ACCOUNT_DELETION_STATE_ERASING
    assert state.deletion.erasure_id == ERASURE
    assert state.deletion.confirmed_by == admin.member_id
    assert state.deletion.confirmed_at.ToDatetime() == deletion.requested_at.ToDatetime()


def test_without_grace_it_is_handed_over_at_once(hasty: World) -> None:
    admin = hasty.admin()
    confirmed = confirm(hasty, admin, ask(hasty, admin))
    assert confirmed.deletion.state == contract.ACCOUNT_DELETION_STATE_ERASING
    hasty.service.jobs[0].step()  # the outbox alone
    assert len(hasty.peers.erasures) == 1
    with refused(reasons_pb2.REASON_WRONG_STATE):
        cancel(hasty, admin, confirmed.deletion)


def test_what_was_taken_back_is_never_handed_over(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    deletion = ask(world, admin)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        confirm(world, other, deletion)
    confirm(world, admin, deletion)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        cancel(world, other, deletion)
    with refused(reasons_pb2.REASON_ADMIN_REQUIRED):
        cancel(world, world.colleague(admin), deletion)
    cancelled = cancel(world, admin, deletion)
    assert cancelled.state == contract.ACCOUNT_DELETION_STATE_CANCELLED
    assert cancelled.cancelled_by == admin.member_id
    world.clock.advance(timedelta(days=30))
    world.run_jobs()
    assert world.peers.erasures == []
    assert ask(world, admin).account_deletion_id != deletion.account_deletion_id
    assert [kind for kind in world.kinds(admin.organization_id) if kind.startswith("account")] == [
        "account_deletion.requested",
        "account_deletion.confirmed",
        "account_deletion.cancelled",
        "account_deletion.requested",
    ]


def test_closing_rides_the_feed_and_answers_the_same_instant_again(world: World) -> None:
    admin = world.admin()
    with refused(reasons_pb2.REASON_WRONG_STATE):
        erase(world, admin.organization_id)
    first = close(world, admin.organization_id)
    world.clock.advance(timedelta(hours=1))
    assert close(world, admin.organization_id) == first
    feed = world.peer("logging").policies.ListPolicyChanges(policies_pb2.ListPolicyChangesRequest())
    assert [change.organization.closed for change in feed.changes] == [False, True]
    assert feed.changes[-1].effective_at == first.effective_at
    with refused(reasons_pb2.REASON_CLOSED):
        world.colleague(admin)
    with refused(reasons_pb2.REASON_NOT_FOUND):
        close(world, "org_" + "0" * 26)


def test_nothing_but_the_id_is_left_and_the_receipt_is_given_again(world: World) -> None:
    admin = world.admin()
    world.colleague(admin)
    world.customer(admin).members.InviteMember(
        members_pb2.InviteMemberRequest(
            organization_id=admin.organization_id, email="open@acme.test", role=admin.role
        )
    )
    world.peer("issuer").members.AuthenticateMember(
        members_pb2.AuthenticateMemberRequest(email=admin.email, password=PASSWORD, source="192.0.2.1")
    )
    confirm(world, admin, ask(world, admin))
    world.run_jobs()
    first_close = close(world, admin.organization_id)
    receipt = erase(world, admin.organization_id)
    assert dict(receipt.removed) == {
        "members": 2,
        "invitations": 1,
        "sign_ins": 1,
        "data_controls_changes": 1,
        "zero_data_retention_requests": 0,
        "account_deletions": 1,
        "usage_agreements": 1,
        "assisted_opt_outs": 0,
        "notification_addresses": 0,
        "subject_requests": 0,
        "organization_changes": 1,
        "terms_acceptances": 0,
        "trust_requests": 0,
        "subprocessor_objections": 0,
        "api_keys": 0,
    }
    world.clock.advance(timedelta(hours=1))
    assert erase(world, admin.organization_id) == receipt
    assert close(world, admin.organization_id) == first_close
    left = world.staff().organizations.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=admin.organization_id)
    )
    assert left.organization == organizations_pb2.Organization(
        organization_id=admin.organization_id, state=organizations_pb2.ORGANIZATION_STATE_ERASED
    )
    world.run_jobs()
    with world.database.engine.connect() as connection:
        tables = connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).scalars()
        everything = " ".join(
            str(connection.exec_driver_sql(f"SELECT * FROM {table}").all()) for table in tables
        )
    for trace in ("Acme", "acme.test", "Ada", "Max", "sally", "argon2"):
        assert trace not in everything, trace


GONE: list[tuple[Callable[[World, members_pb2.Member], object], "reasons_pb2.Reason.ValueType"]] = [
    (
        lambda world, admin: world.customer(admin).controls.GetDataControls(
            data_controls_pb2.GetDataControlsRequest(organization_id=admin.organization_id)
        ),
        reasons_pb2.REASON_UNAUTHENTICATED,
    ),
    (
        lambda world, admin: world.peer("issuer").members.AuthenticateMember(
            members_pb2.AuthenticateMemberRequest(email=admin.email, password=PASSWORD)
        ),
        reasons_pb2.REASON_SIGN_IN_FAILED,
    ),
    (
        lambda world, admin: world.peer("training").policies.GetConsentHistory(
            policies_pb2.GetConsentHistoryRequest(organization_id=admin.organization_id)
        ),
        reasons_pb2.REASON_NOT_FOUND,
    ),
    (lambda world, admin: world.organization(), reasons_pb2.REASON_REQUEST_ID_REUSED),
]


@pytest.mark.parametrize(("call", "reason"), GONE)
def test_after_an_erasure_nobody_gets_in(
    world: World,
    call: Callable[[World, members_pb2.Member], object],
    reason: "reasons_pb2.Reason.ValueType",
) -> None:
    admin = world.admin()
    close(world, admin.organization_id)
    erase(world, admin.organization_id)
    with refused(reason):
        call(world, admin)

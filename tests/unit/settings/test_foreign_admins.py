"""An admin of another organization is refused by name, by whatever method she names this one, and nothing is changed."""

from collections.abc import Callable
from typing import Any

import pytest

from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.settings.v1 import (
    account_pb2,
    data_controls_pb2,
    members_pb2,
    policies_pb2,
    zero_data_retention_pb2,
)
from tests.unit.settings.world import Stubs, World, refused

CALLS: list[tuple[Callable[[Stubs], Any], Any]] = [
    (lambda by: by.controls.GetDataControls, data_controls_pb2.GetDataControlsRequest()),
    (lambda by: by.controls.ListDataControlsHistory, data_controls_pb2.ListDataControlsHistoryRequest()),
    (
        lambda by: by.controls.UpdateDataControls,
        data_controls_pb2.UpdateDataControlsRequest(etag="controls-1", training_allowed=False),
    ),
    (lambda by: by.policies.GetConsentHistory, policies_pb2.GetConsentHistoryRequest()),
    (
        lambda by: by.zdr.RequestZeroDataRetention,
        zero_data_retention_pb2.RequestZeroDataRetentionRequest(
            commitments_version="1", accepted_commitments=["one"]
        ),
    ),
    (
        lambda by: by.zdr.ListZeroDataRetentionRequests,
        zero_data_retention_pb2.ListZeroDataRetentionRequestsRequest(),
    ),
    (lambda by: by.members.ListInvitations, members_pb2.ListInvitationsRequest()),
    (lambda by: by.members.ListMembers, members_pb2.ListMembersRequest()),
    (
        lambda by: by.members.InviteMember,
        members_pb2.InviteMemberRequest(email="x@mail.test", role=roles_pb2.CUSTOMER_ROLE_ADMIN),
    ),
    (lambda by: by.account.RequestAccountDeletion, account_pb2.RequestAccountDeletionRequest()),
    (lambda by: by.account.GetAccountDeletion, account_pb2.GetAccountDeletionRequest()),
]


@pytest.mark.parametrize(("method", "request_"), CALLS, ids=[type(each).__name__ for _, each in CALLS])
def test_another_organization_is_refused_by_name(
    world: World, method: Callable[[Stubs], Any], request_: Any
) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    before = world.kinds(admin.organization_id)
    wanted = type(request_)()
    wanted.CopyFrom(request_)
    wanted.organization_id = admin.organization_id
    with refused(reasons_pb2.REASON_WRONG_ORGANIZATION):
        method(world.customer(other))(wanted)
    assert world.kinds(admin.organization_id) == before


def test_the_deletion_of_another_organization_does_not_exist_for_her(world: World) -> None:
    admin, other = world.admin("acme"), world.admin("other")
    deletion = (
        world.customer(admin)
        .account.RequestAccountDeletion(
            account_pb2.RequestAccountDeletionRequest(organization_id=admin.organization_id)
        )
        .deletion
    )
    account = world.customer(other).account
    with refused(reasons_pb2.REASON_NOT_FOUND):
        account.ConfirmAccountDeletion(
            account_pb2.ConfirmAccountDeletionRequest(
                account_deletion_id=deletion.account_deletion_id,
                confirmation_sentence=deletion.confirmation_sentence,
            )
        )
    with refused(reasons_pb2.REASON_NOT_FOUND):
        account.CancelAccountDeletion(
            account_pb2.CancelAccountDeletionRequest(account_deletion_id=deletion.account_deletion_id)
        )
    still = world.customer(admin).account.GetAccountDeletion(
        account_pb2.GetAccountDeletionRequest(organization_id=admin.organization_id)
    )
    assert still.deletion == deletion

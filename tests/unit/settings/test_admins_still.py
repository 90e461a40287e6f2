"""What was decided while somebody was an admin, and comes to the organization's lock when she is none any more, is refused: every change
that the contracts open to a customer's admins."""

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

import pytest

import kept.settings.v1
from kept.options.v1 import callers_pb2, roles_pb2
from kept.settings.v1 import api_keys_pb2, members_pb2
from shared.callers import declared
from shared.errors import KeptError
from tests.unit.settings import (
    test_account_deletion,
    test_api_keys,
    test_data_controls,
    test_invitations,
    test_notification_addresses,
    test_roles,
    test_subject_requests,
    test_subprocessors,
    test_terms,
    test_zero_data_retention,
)
from tests.unit.settings.world import World

Act = Callable[[members_pb2.Member], object]

ADMIN, MEMBER = roles_pb2.CUSTOMER_ROLE_ADMIN, roles_pb2.CUSTOMER_ROLE_MEMBER
_READS: Final = ("Get", "List", "Watch", "Export")
# Changes of a person's own account, which a member without a role makes too: they lock the person's own row, and need no role.
_OWN: Final = {
    "UpdateProfile",
    "RequestEmailChange",
    "ConfirmEmailChange",
    "ChangePassword",
    "DeleteMyAccount",
}


def _revoke_key(world: World, ada: members_pb2.Member) -> Act:
    key = test_api_keys.register(world, ada)
    request = api_keys_pb2.RevokeApiKeyRequest(api_key_id=key.api_key_id)
    return lambda by: world.customer(by).keys.RevokeApiKey(request)


def _revoke_invitation(world: World, ada: members_pb2.Member) -> Act:
    test_invitations.invite(world, ada, "new@acme.test")
    wanted = members_pb2.ListInvitationsRequest(organization_id=ada.organization_id)
    [made] = world.customer(ada).members.ListInvitations(wanted).invitations
    request = members_pb2.RevokeInvitationRequest(invitation_id=made.invitation_id)
    return lambda by: world.customer(by).members.RevokeInvitation(request)


def _set_role(world: World, ada: members_pb2.Member) -> Act:
    return lambda by: test_roles.set_role(world, by, ada, MEMBER)


def _remove(world: World, ada: members_pb2.Member) -> Act:
    return lambda by: test_roles.remove(world, by, ada)


def _confirm_deletion(world: World, ada: members_pb2.Member) -> Act:
    deletion = test_account_deletion.ask(world, ada)
    return lambda by: test_account_deletion.confirm(world, by, deletion)


def _cancel_deletion(world: World, ada: members_pb2.Member) -> Act:
    deletion = test_account_deletion.ask(world, ada)
    return lambda by: test_account_deletion.cancel(world, by, deletion)


def _update_controls(world: World, ada: members_pb2.Member) -> Act:
    etag = test_data_controls.current(world, ada).etag
    return lambda by: test_data_controls.update(world, by, etag, training_allowed=False)


def _complete_subject(world: World, ada: members_pb2.Member) -> Act:
    asked = test_subject_requests.ask(world, ada)
    return lambda by: test_subject_requests.complete(world, by, asked)


def _extend_subject(world: World, ada: members_pb2.Member) -> Act:
    asked = test_subject_requests.ask(world, ada)
    return lambda by: test_subject_requests.extend(world, by, asked)


def _object(world: World, _: members_pb2.Member) -> Act:
    test_subprocessors.publish(world, test_subprocessors.entry("Alpha"))
    test_subprocessors.publish(
        world, test_subprocessors.entry("Alpha"), test_subprocessors.entry("Beta"), request_id="list-of-two"
    )
    return lambda by: test_subprocessors.object_to(world, by)


def _end_zdr(world: World, ada: members_pb2.Member) -> Act:
    request = test_zero_data_retention.ask(world, ada)
    return lambda by: test_zero_data_retention.end(world, by, request)


# What an admin tries, once everything is there for it that another admin has to bring about.
ACTS: Final[Mapping[str, Callable[[World, members_pb2.Member], Act]]] = {
    "RegisterApiKey": lambda world, _: lambda by: test_api_keys.register(world, by),
    "RevokeApiKey": _revoke_key,
    "InviteMember": lambda world, _: lambda by: test_invitations.invite(world, by, "new@acme.test"),
    "RevokeInvitation": _revoke_invitation,
    "SetMemberRole": _set_role,
    "RemoveMember": _remove,
    "RequestAccountDeletion": lambda world, _: lambda by: test_account_deletion.ask(world, by),
    "ConfirmAccountDeletion": _confirm_deletion,
    "CancelAccountDeletion": _cancel_deletion,
    "UpdateDataControls": _update_controls,
    "UpdateNotificationAddresses": lambda world, _: (
        lambda by: test_notification_addresses.put(
            world, by, (test_notification_addresses.SECURITY, "soc@acme.test")
        )
    ),
    "AcceptTerms": lambda world, _: lambda by: test_terms.accept(world, by),
    "CreateSubjectRequest": lambda world, _: lambda by: test_subject_requests.ask(world, by),
    "CompleteSubjectRequest": _complete_subject,
    "ExtendSubjectRequest": _extend_subject,
    "ObjectToSubprocessors": _object,
    "RequestZeroDataRetention": lambda world, _: lambda by: test_zero_data_retention.ask(world, by),
    "EndZeroDataRetention": _end_zdr,
}


def _declared() -> dict[str, callers_pb2.Callers]:
    """The methods of settings by their names, with their callers."""
    modules = [
        import_module(f"kept.settings.v1.{module.name}")
        for module in pkgutil.iter_modules(kept.settings.v1.__path__)
        if module.name.endswith("_pb2")
    ]
    return {
        method.name: declared(f"/{service.full_name}/{method.name}")
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_change_that_is_open_to_admins_is_tried_here() -> None:
    methods = _declared()
    open_to_admins = {
        name
        for name, callers in methods.items()
        if ADMIN in callers.customers and not name.startswith(_READS)
    }
    assert open_to_admins == {*ACTS, *_OWN}
    assert {name for name in _OWN if MEMBER not in methods[name].customers} == set()


REMOVED, DEMOTED = "DELETE FROM members", f"UPDATE members SET role = {MEMBER}"


@pytest.mark.parametrize(
    ("method", "done"), [*((method, REMOVED) for method in ACTS), ("UpdateDataControls", DEMOTED)]
)
def test_it_is_refused_to_who_is_an_admin_no_more_when_it_gets_the_lock(
    world: World, method: str, done: str
) -> None:
    ada = world.admin()
    gone = test_roles.set_role(world, ada, world.colleague(ada), ADMIN)
    act = ACTS[method](world, ada)
    before = world.kinds(ada.organization_id)
    outcome = world.during(
        # As another admin's call does it: under the organization's row.
        f"SELECT 1 FROM organizations WHERE organization_id = '{ada.organization_id}' FOR NO KEY UPDATE; "
        f"{done} WHERE member_id = '{gone.member_id}'",
        lambda: act(gone),
    )
    assert isinstance(outcome, KeptError), outcome
    assert outcome.name == "ADMIN_REQUIRED"
    assert outcome.metadata == {"admins": "Ada Admin"}
    assert world.kinds(ada.organization_id) == before


@pytest.mark.parametrize("method", ACTS)
def test_and_to_who_still_is_it_is_not(world: World, method: str) -> None:
    ada = world.admin()
    still = test_roles.set_role(world, ada, world.colleague(ada), ADMIN)
    act = ACTS[method](world, ada)
    before = len(world.kinds(ada.organization_id))
    act(still)
    assert len(world.kinds(ada.organization_id)) > before

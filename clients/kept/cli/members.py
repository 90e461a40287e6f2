"""`kept settings members` and `kept settings account`: a customer's people, and the end of its account."""

from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import CustomerRole, Limit, OwnOrganization, enum_value
from kept.cli.invocation import Invocation, group, verb
from kept.cli.signing_in import secret

if TYPE_CHECKING:
    from kept.settings.v1 import account_pb2_grpc, members_pb2_grpc

_Member = Annotated[str, typer.Argument(metavar="MEMBER", help="Member id, member_….")]
_Etag = Annotated[
    str,
    typer.Option(
        "--etag", help="Only if nothing changed since `list` gave this etag. The current one without it."
    ),
]
_Deletion = Annotated[str, typer.Argument(metavar="DELETION", help="Deletion id, deletion_….")]


def add_to(settings: typer.Typer) -> None:
    """Adds both groups."""
    members = group(settings, "members", "A customer's people.")
    verb(members, "invite")(invite)
    verb(members, "invitations")(invitations)
    verb(members, "uninvite")(uninvite)
    verb(members, "register")(register)
    verb(members, "list")(list_)
    verb(members, "role")(role)
    verb(members, "remove")(remove)
    account = group(settings, "account", "The end of an organization's account, by its own admin.")
    verb(account, "delete")(delete)
    verb(account, "confirm")(confirm)
    verb(account, "cancel")(cancel)
    verb(account, "status")(status)


def _members(call: Invocation, *, public: bool = False) -> "members_pb2_grpc.MemberServiceStub":
    from kept.settings.v1 import members_pb2_grpc

    return members_pb2_grpc.MemberServiceStub(
        call.public_channel("settings") if public else call.channel("settings")
    )


def invite(
    call: Invocation,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Whom to invite.")],
    role: Annotated[
        CustomerRole, typer.Option("--role", help="What the new member may do.")
    ] = CustomerRole.MEMBER,
    organization: OwnOrganization = "",
) -> None:
    """Invite somebody into your organization. The token in the answer is shown once and works once, for seven days."""
    from kept.cli.output import sheet
    from kept.options.v1 import roles_pb2
    from kept.settings.v1 import members_pb2

    response = _members(call).InviteMember(
        members_pb2.InviteMemberRequest(
            organization_id=call.own_organization(organization),
            email=email,
            role=enum_value(roles_pb2.CustomerRole, "CUSTOMER_ROLE", role),
        )
    )
    call.show(response, lambda: sheet(response))


def invitations(call: Invocation, organization: OwnOrganization = "", limit: Limit = 1000) -> None:
    """Invitations into your organization that can still be used."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import members_pb2

    wanted = members_pb2.ListInvitationsRequest(organization_id=call.own_organization(organization))
    response = pages(_members(call).ListInvitations, wanted, limit)
    columns = ["invitation_id", "email", "role", "expires_at"]
    call.show(response, lambda: table(response.invitations, columns, "There is none."))


def uninvite(
    call: Invocation,
    invitation: Annotated[str, typer.Argument(metavar="INVITATION", help="Invitation id, invitation_….")],
) -> None:
    """Take an invitation back: its token is worth nothing any more."""
    from kept.settings.v1 import members_pb2

    response = _members(call).RevokeInvitation(members_pb2.RevokeInvitationRequest(invitation_id=invitation))
    call.show(response, lambda: f"{invitation} is taken back.")


def register(
    call: Invocation,
    first_name: Annotated[str, typer.Option("--first-name", help="Your first name.")],
    last_name: Annotated[str, typer.Option("--last-name", help="Your last name.")],
) -> None:
    """Turn an invitation into an account. Needs no sign-in.

    The invitation token is asked for, or taken from $KEPT_INVITATION; the password (12 characters or more) likewise from
    $KEPT_PASSWORD. Neither is an option: command lines are seen by others on the machine.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import members_pb2

    response = _members(call, public=True).RegisterMember(
        members_pb2.RegisterMemberRequest(
            invitation_token=secret("KEPT_INVITATION", "Invitation token").strip(),
            first_name=first_name,
            last_name=last_name,
            password=secret("KEPT_PASSWORD", "Password"),
        )
    )
    call.show(response, lambda: sheet(response.member))
    call.note("Sign in with `kept login --customer EMAIL`.")


def list_(call: Invocation, organization: OwnOrganization = "", limit: Limit = 1000) -> None:
    """The members of your organization, by registration."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import members_pb2

    wanted = members_pb2.ListMembersRequest(organization_id=call.own_organization(organization))
    response = pages(_members(call).ListMembers, wanted, limit)
    columns = ["member_id", "first_name", "last_name", "email", "role", "registered_at"]
    call.show(response, lambda: table(response.members, columns, "There is no member."))


def _current(call: Invocation, member: str) -> str:
    from kept.client.errors import KeptError
    from kept.client.reading import each
    from kept.settings.v1 import members_pb2

    wanted = members_pb2.ListMembersRequest(organization_id=call.own_organization(""))
    for found in each(_members(call).ListMembers, wanted, "members"):
        if found.member_id == member:
            return str(found.etag)
    raise KeptError("NOT_FOUND", "There is no such member of your organization.", status="NOT_FOUND")


def role(
    call: Invocation,
    member: _Member,
    role: Annotated[CustomerRole, typer.Argument(help="What the member may do from now on.")],
    etag: _Etag = "",
) -> None:
    """Give a member of your organization another role. There is always an admin: the last one stays."""
    from kept.cli.output import sheet
    from kept.options.v1 import roles_pb2
    from kept.settings.v1 import members_pb2

    response = _members(call).SetMemberRole(
        members_pb2.SetMemberRoleRequest(
            member_id=member,
            role=enum_value(roles_pb2.CustomerRole, "CUSTOMER_ROLE", role),
            etag=etag or _current(call, member),
        )
    )
    call.show(response, lambda: sheet(response.member))


def remove(call: Invocation, member: _Member, etag: _Etag = "") -> None:
    """Remove a member from your organization: name, address and password are erased at once."""
    from kept.settings.v1 import members_pb2

    response = _members(call).RemoveMember(
        members_pb2.RemoveMemberRequest(member_id=member, etag=etag or _current(call, member))
    )
    call.show(response, lambda: f"{member} is removed.")


def _account(call: Invocation) -> "account_pb2_grpc.AccountServiceStub":
    from kept.settings.v1 import account_pb2_grpc

    return account_pb2_grpc.AccountServiceStub(call.channel("settings"))


def delete(call: Invocation, organization: OwnOrganization = "") -> None:
    """Begin to delete the organization's account. Nothing happens until it is confirmed with the sentence in the answer."""
    from kept.cli.output import sheet
    from kept.settings.v1 import account_pb2

    response = _account(call).RequestAccountDeletion(
        account_pb2.RequestAccountDeletionRequest(organization_id=call.own_organization(organization))
    )
    call.show(response, lambda: sheet(response.deletion))
    call.note(f"To go on: kept settings account confirm {response.deletion.account_deletion_id}")


def confirm(
    call: Invocation,
    deletion: _Deletion,
    sentence: Annotated[
        str,
        typer.Option("--sentence", metavar="TEXT", help="The sentence, word by word. Asked for without it."),
    ] = "",
) -> None:
    """Confirm the deletion by typing its sentence. When the grace period is over, everything is erased.

    The claim in the answer is shown this once. Keep it: `kept erasures show --claim` answers to it with the certificate, when there is no
    account left to sign in to.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import account_pb2

    typed = sentence or str(typer.prompt("Type the sentence", err=True))
    response = _account(call).ConfirmAccountDeletion(
        account_pb2.ConfirmAccountDeletionRequest(account_deletion_id=deletion, confirmation_sentence=typed)
    )
    call.show(response, lambda: sheet(response))
    call.note("Keep the claim now: it is shown this once.")


def cancel(call: Invocation, deletion: _Deletion) -> None:
    """Take the deletion back, while the grace period lasts."""
    from kept.cli.output import sheet
    from kept.settings.v1 import account_pb2

    response = _account(call).CancelAccountDeletion(
        account_pb2.CancelAccountDeletionRequest(account_deletion_id=deletion)
    )
    call.show(response, lambda: sheet(response.deletion))


def status(call: Invocation, organization: OwnOrganization = "") -> None:
    """Where the newest deletion is."""
    from kept.cli.output import sheet
    from kept.settings.v1 import account_pb2

    response = _account(call).GetAccountDeletion(
        account_pb2.GetAccountDeletionRequest(organization_id=call.own_organization(organization))
    )
    call.show(response, lambda: sheet(response.deletion))

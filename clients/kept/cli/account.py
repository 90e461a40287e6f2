"""`kept account`: one's own account, as a customer's person. (The organization's is `kept settings account`.)"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import Limit
from kept.cli.invocation import Invocation, group, verb
from kept.cli.signing_in import secret
from kept.cli.whole_files import private_file

if TYPE_CHECKING:
    from kept.settings.v1 import members_pb2_grpc

_SENTENCE = "delete my account"


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    account = group(app, "account", "Your own account, as a customer's person.")
    verb(account, "show")(show)
    verb(account, "rename")(rename)
    verb(account, "email")(email_)
    verb(account, "confirm-email")(confirm_email)
    verb(account, "password")(password)
    verb(account, "forgot")(forgot)
    verb(account, "reset")(reset)
    verb(account, "sign-ins")(sign_ins)
    verb(account, "export")(export)
    verb(account, "delete")(delete)


def _members(call: Invocation, *, public: bool = False) -> "members_pb2_grpc.MemberServiceStub":
    from kept.settings.v1 import members_pb2_grpc

    return members_pb2_grpc.MemberServiceStub(
        call.public_channel("settings") if public else call.channel("settings")
    )


def show(call: Invocation) -> None:
    """Your profile: what your organization's members see of you, and when you signed in last."""
    from kept.cli.output import sheet
    from kept.settings.v1 import members_pb2

    response = _members(call).GetProfile(members_pb2.GetProfileRequest())
    call.show(response, lambda: sheet(response.profile))


def rename(
    call: Invocation,
    first_name: Annotated[str, typer.Option("--first-name", help="As it is without it.")] = "",
    last_name: Annotated[str, typer.Option("--last-name", help="As it is without it.")] = "",
    etag: Annotated[
        str,
        typer.Option(
            "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
        ),
    ] = "",
) -> None:
    """Change your name."""
    from kept.cli.output import sheet
    from kept.settings.v1 import members_pb2

    if not first_name and not last_name:
        raise typer.BadParameter("say what to change: --first-name, --last-name.")
    stub = _members(call)
    now = stub.GetProfile(members_pb2.GetProfileRequest()).profile.member
    response = stub.UpdateProfile(
        members_pb2.UpdateProfileRequest(
            etag=etag or now.etag,
            first_name=first_name or now.first_name,
            last_name=last_name or now.last_name,
        )
    )
    call.show(response, lambda: sheet(response.profile))


def email_(
    call: Invocation,
    email: Annotated[str, typer.Argument(metavar="NEW", help="The new address.")],
) -> None:
    """Change your address: a token is sent to the new one. Nothing changes before `kept account confirm-email`.

    The password is asked for, or taken from $KEPT_PASSWORD.
    """
    from kept.settings.v1 import members_pb2

    response = _members(call).RequestEmailChange(
        members_pb2.RequestEmailChangeRequest(email=email, password=secret("KEPT_PASSWORD", "Password"))
    )
    call.show(response, lambda: "A token is on its way to the new address.")
    call.note("Use it within an hour: kept account confirm-email")


def confirm_email(call: Invocation) -> None:
    """Change your address with the token that was sent to the new one. It is asked for, or taken from $KEPT_CHANGE_TOKEN."""
    from kept.cli.output import sheet
    from kept.settings.v1 import members_pb2

    response = _members(call).ConfirmEmailChange(
        members_pb2.ConfirmEmailChangeRequest(change_token=secret("KEPT_CHANGE_TOKEN", "Token").strip())
    )
    call.show(response, lambda: sheet(response.profile))


def password(call: Invocation) -> None:
    """Change your password. All your sessions end: sign in again afterwards.

    The current password is asked for, or taken from $KEPT_PASSWORD; the new one likewise from $KEPT_NEW_PASSWORD. Neither is an option:
    command lines are seen by others on the machine.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import members_pb2

    response = _members(call).ChangePassword(
        members_pb2.ChangePasswordRequest(
            current_password=secret("KEPT_PASSWORD", "Current password"),
            new_password=secret("KEPT_NEW_PASSWORD", "New password"),
        )
    )
    call.show(response, lambda: sheet(response))
    call.note("Sign in again with `kept login --customer EMAIL`.")


def forgot(
    call: Invocation,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The address that you registered with.")],
) -> None:
    """Have a token for a new password sent to your address. Needs no sign-in.

    The answer is the same whether there is such an account or not.
    """
    from kept.settings.v1 import members_pb2

    response = _members(call, public=True).RequestPasswordReset(
        members_pb2.RequestPasswordResetRequest(email=email)
    )
    call.show(response, lambda: "If there is an account with this address, a token is on its way to it.")
    call.note("Use it within an hour: kept account reset")


def reset(call: Invocation) -> None:
    """Set a new password with a token that was sent to you. Needs no sign-in.

    The token is asked for, or taken from $KEPT_RESET_TOKEN; the new password (12 characters or more) likewise from $KEPT_NEW_PASSWORD.
    """
    from kept.settings.v1 import members_pb2

    response = _members(call, public=True).ResetPassword(
        members_pb2.ResetPasswordRequest(
            reset_token=secret("KEPT_RESET_TOKEN", "Token").strip(),
            new_password=secret("KEPT_NEW_PASSWORD", "New password"),
        )
    )
    call.show(response, lambda: "The new password counts from now on; sessions that there were have ended.")
    call.note("Sign in with `kept login --customer EMAIL`.")


def sign_ins(call: Invocation, limit: Limit = 100) -> None:
    """Your sign-ins, newest first, failed ones too."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import members_pb2

    response = pages(_members(call).ListSignIns, members_pb2.ListSignInsRequest(), limit)
    call.show(response, lambda: table(response.sign_ins, ["at", "outcome"], "There is none."))
    call.note(f"Sign-ins are log data: kept for {response.kept_days} days.")


def export(
    call: Invocation,
    output: Annotated[
        Path,
        typer.Option("--output", metavar="FILE", help="Into this file, for you alone; - is the terminal."),
    ] = Path("-"),
) -> None:
    """Take along everything that is known of you, as JSON."""
    from kept.cli.output import to_json
    from kept.client.documents import to_document
    from kept.settings.v1 import members_pb2

    with private_file(call, output) as out:
        response = _members(call).ExportProfile(members_pb2.ExportProfileRequest())
        out.write((to_json(to_document(response)) + "\n").encode())


def delete(
    call: Invocation,
    sentence: Annotated[
        str,
        typer.Option(
            "--sentence", metavar="TEXT", help=f'"{_SENTENCE}", word by word. Asked for without it.'
        ),
    ] = "",
) -> None:
    """Delete your own account, at once. The organization stays; its last admin hands over first.

    The password is asked for, or taken from $KEPT_PASSWORD.
    """
    from kept.settings.v1 import members_pb2

    typed = sentence or str(typer.prompt(f'Type "{_SENTENCE}"', err=True))
    response = _members(call).DeleteMyAccount(
        members_pb2.DeleteMyAccountRequest(
            confirmation_sentence=typed, password=secret("KEPT_PASSWORD", "Password")
        )
    )
    call.show(response, lambda: "Your account is gone: name, address and password are erased.")
    call.note("Forget the session here too: kept logout")

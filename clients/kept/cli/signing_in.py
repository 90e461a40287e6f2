"""Who one is: login, logout, status; and which signing keys are trusted."""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import check_text, refuse_beside
from kept.cli.invocation import Invocation, verb
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.client.signing_keys import SigningKey

# GetMe is access control's; a token for it says who one is.
_FIRST_AUDIENCE = "kept:access_control"


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    verb(app, "login")(login)
    verb(app, "logout")(logout)
    verb(app, "status")(status)
    verb(app, "trust")(trust)


def secret(variable: str, words: str) -> str:
    """From the environment, else asked for without echo. A usage error where nobody can be asked."""
    if value := os.environ.get(variable):
        check_text(value, f"${variable}")
        return value
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody can be asked for the {words.lower()} here: set ${variable}.")
    return str(typer.prompt(words, hide_input=True, err=True))


def login(
    call: Invocation,
    customer: Annotated[
        str | None,
        typer.Option(
            "--customer", metavar="EMAIL", help="Sign in as a customer's person, by e-mail address."
        ),
    ] = None,
) -> None:
    """Sign in. The password is asked for, or taken from $KEPT_PASSWORD.

    Staff sign in by name: kept login --as anna. Customers sign in by e-mail: kept login --customer ada@example.org; with --as ada too,
    the identity is called "ada" from then on. Several identities stay signed in side by side; --as NAME on any command picks
    one, and the last that signed in is the default.

    At the first sign-in the public keys of audit log and certificates are pinned and shown, see `kept trust`.
    """
    if customer is None and call.identity is None:
        raise typer.BadParameter("say who you are: --as NAME, or --customer EMAIL.")
    kind = "workforce" if customer is None else "customer"
    username = customer if customer is not None else call.identity
    assert username is not None
    name = call.identity or username
    sessions = call.sessions  # a wrong profile is told before anybody types a password
    password = secret("KEPT_PASSWORD", "Password")
    session = sessions.sign_in(kind, username, password, name, _FIRST_AUDIENCE)
    if call.as_json:
        call.show_document(
            {"identity": session.name, "kind": kind, "claims": _shown_claims(session.claims())}
        )
    else:
        call.note(f"Signed in to {call.profile.name} as {session.name} ({kind}).")
    _pin_first_keys(call)


def _shown_claims(claims: dict[str, object]) -> dict[str, object]:
    return {key: claims[key] for key in ("sub", "name", "email", "org") if key in claims}


def _pin_first_keys(call: Invocation) -> None:
    """Sign-in has succeeded, whatever becomes of this."""
    from kept.client import signing_keys

    file = call.profile.signing_keys
    try:
        published = signing_keys.fetch(call.public_channel)
        if not file.exists() and published:
            signing_keys.save(file, published)
            call.note(f"Signing keys pinned in {file}; compare them with what the operator publishes:")
            for key in published:
                call.note(f"  {key.purpose.replace('_', ' ')}: {key.key_id} since {key.created_at:%Y-%m-%d}")
        elif new := signing_keys.added(signing_keys.load(file), published):
            call.note(f"{len(new)} new signing keys are published: look at them with `kept trust`.")
    except KeptError as error:
        call.note(f"Signing keys were not looked at: {error.text} Do it with `kept trust`.")


def logout(
    call: Invocation,
    everybody: Annotated[bool, typer.Option("--all", help="Every identity of this profile.")] = False,
) -> None:
    """Sign out.

    Forgets the tokens of the current identity, of --as NAME, or of all.
    """
    if everybody:
        refuse_beside("--all", {"--as": call.identity})
    names = call.sessions.names() if everybody else [call.session.name]
    for name in names:
        call.sessions.sign_out(name)
    if call.as_json:
        call.show_document({"signed_out": names})
    else:
        call.note(f"Signed out: {', '.join(names) or 'nobody was signed in'}.")


def status(call: Invocation) -> None:
    """Who am I, and what may I do now?

    Person or member, roles, agreement, and the grants that are in force, until when.
    """
    from kept.access_control.v1 import directory_pb2, directory_pb2_grpc, grants_pb2, grants_pb2_grpc
    from kept.cli.output import sheet, table
    from kept.client.documents import to_document
    from kept.client.reading import pages
    from kept.options.v1 import roles_pb2

    channel = call.channel("access_control")
    me = directory_pb2_grpc.DirectoryServiceStub(channel).GetMe(directory_pb2.GetMeRequest())
    grants: list[grants_pb2.Grant] = []
    # A customer's member who is no admin has no business with grants, and is refused.
    if me.HasField("person") or me.customer_role == roles_pb2.CUSTOMER_ROLE_ADMIN:
        stub = grants_pb2_grpc.GrantServiceStub(channel)
        wanted = grants_pb2.ListGrantsRequest(state=grants_pb2.GRANT_STATE_APPROVED)
        grants = [
            grant
            for grant in pages(stub.ListGrants, wanted, 1000).grants
            if not me.HasField("person") or grant.requested_by == me.person.person_id
        ]
    if call.as_json:
        call.show_document(
            {
                "identity": call.session.name,
                "kind": call.session.kind,
                "profile": call.profile.name,
                "me": to_document(me),
                "grants": [to_document(grant) for grant in grants],
            }
        )
        return

    def view() -> "Iterable[RenderableType]":
        yield f"{call.session.name} at {call.profile.name} ({call.session.kind})"
        yield sheet(me)
        yield ""
        yield table(
            grants,
            [
                "grant_id",
                ("organization", "data.organization_id"),
                ("detail", "data.detail"),
                "power",
                "valid_from",
                ("until", "expires_at"),
            ],
            "No grant is in force.",
        )

    call.tell(lambda: list(view()))


def trust(
    call: Invocation,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Pin what is published now although a pinned key is not among it."),
    ] = False,
) -> None:
    """Pin and show the keys that evidence is verified with.

    They are the public keys of audit log and certificates.

    Verification (`kept certificates verify`, `kept audit verify`) is offline and rests on these keys. Compare them with what the
    operator publishes elsewhere. New keys are added; a pinned key that is published no more stops the command (exit code 4) unless
    --replace is given.
    """
    from kept.client import signing_keys

    file = call.profile.signing_keys
    published = signing_keys.fetch(call.public_channel)
    pinned = signing_keys.load(file)
    new = published if replace else signing_keys.added(pinned, published)
    if new or replace:
        signing_keys.save(file, published)
    if call.as_json:
        call.show_document(
            {"file": str(file), "keys": [_document(key, key not in pinned) for key in published]}
        )
    else:
        call.tell(lambda: _shown(published, pinned))
        call.note(f"Pinned in {file}.")


def _document(key: "SigningKey", new: bool) -> dict[str, object]:
    return {
        "purpose": key.purpose,
        "key_id": key.key_id,
        "public_key": key.public_key.hex(),
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
        "new": new,
    }


def _shown(published: "list[SigningKey]", pinned: "list[SigningKey]") -> "RenderableType":
    from rich.table import Table

    shown = Table("signs", "key id", "public key (Ed25519)", "since", "", box=None, pad_edge=False)
    for key in published:
        shown.add_row(
            key.purpose.replace("_", " "),
            key.key_id,
            key.public_key.hex(),
            f"{key.created_at:%Y-%m-%d}",
            " ".join(_remarks(key, pinned)),
        )
    return shown


def _remarks(key: "SigningKey", pinned: "list[SigningKey]") -> Iterable[str]:
    if key.revoked_at is not None:
        yield f"revoked {key.revoked_at:%Y-%m-%d}"
    if key not in pinned:
        yield "new"

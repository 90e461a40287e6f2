"""`kept people`: the vendor's workforce, its roles and agreements."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import Limit, StaffRole, enum_value, sha256, stamp, when
from kept.cli.invocation import Invocation, group, verb
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.access_control.v1 import directory_pb2_grpc

_Person = Annotated[
    str, typer.Argument(metavar="PERSON", help="Person id, person_…, as `kept people list` shows it.")
]
_Assignment = Annotated[
    str,
    typer.Argument(metavar="ASSIGNMENT", help="Role assignment id, role_…, as `kept people list` shows it."),
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    people = group(app, "people", "Who works here, in which roles. Changes need the power role-assignment.")
    verb(people, "list")(list_)
    verb(people, "add")(add)
    role = group(people, "role", "Roles: one proposes, another confirms.")
    verb(role, "assign")(assign)
    verb(role, "confirm")(confirm)
    verb(role, "end")(end)
    verb(people, "agreement")(agreement)
    verb(people, "disable")(disable)


def _stub(call: Invocation) -> "directory_pb2_grpc.DirectoryServiceStub":
    from kept.access_control.v1 import directory_pb2_grpc

    return directory_pb2_grpc.DirectoryServiceStub(call.channel("access_control"))


def list_(call: Invocation, limit: Limit = 1000) -> None:
    """The people of the workforce.

    In order of creation, with their agreements and roles; the role_… ids are there.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table
    from kept.client.reading import pages

    response = pages(_stub(call).ListPeople, directory_pb2.ListPeopleRequest(), limit)
    roles = [(person, role) for person in response.people for role in person.roles]
    columns = ["person_id", ("name", "display_name"), "email", "agreement_until", "disabled"]
    role_columns = [("assignment", "role_assignment_id"), "role", "assigned_by", "confirmed_by"]
    call.show(
        response,
        lambda: (
            [
                table(response.people, columns, "There is nobody."),
                *(
                    part
                    for person in response.people
                    if person.roles
                    for part in ("", f"Roles of {person.person_id}", table(person.roles, role_columns, ""))
                ),
            ]
            if roles
            else table(response.people, columns, "There is nobody.")
        ),
    )


def add(
    call: Invocation,
    name: Annotated[str, typer.Option("--name", help="Full name.")],
    email: Annotated[str, typer.Option("--email", help="E-mail address.")],
    subject: Annotated[
        str, typer.Option("--subject", help="Who it is to the workforce issuer: `sub` of its tokens.")
    ],
) -> None:
    """Add a person. Without a role and an agreement the person can do nothing yet."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).CreatePerson(
        directory_pb2.CreatePersonRequest(display_name=name, email=email, subject=subject)
    )
    call.show(response, lambda: sheet(response.person))


def assign(
    call: Invocation,
    person: _Person,
    role: Annotated[StaffRole, typer.Argument(help="Which role.")],
) -> None:
    """Propose a role for somebody, never for yourself. It counts once another person has confirmed it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet
    from kept.options.v1 import roles_pb2

    response = _stub(call).AssignRole(
        directory_pb2.AssignRoleRequest(
            person_id=person, role=enum_value(roles_pb2.StaffRole, "STAFF_ROLE", role)
        )
    )
    call.show(response, lambda: sheet(response.role_assignment))


def confirm(call: Invocation, assignment: _Assignment) -> None:
    """Confirm a role.

    One that somebody else proposed for a third person.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).ConfirmRole(directory_pb2.ConfirmRoleRequest(role_assignment_id=assignment))
    call.show(response, lambda: sheet(response.role_assignment))


def end(call: Invocation, assignment: _Assignment) -> None:
    """End a role at once, and every grant that rested on it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).EndRole(directory_pb2.EndRoleRequest(role_assignment_id=assignment))
    call.show(response, lambda: sheet(response))


def agreement(
    call: Invocation,
    person: _Person,
    signed: Annotated[
        datetime, typer.Option("--signed", metavar="TIME", parser=when, help="When it was signed, UTC.")
    ],
    expires: Annotated[
        datetime,
        typer.Option("--expires", metavar="TIME", parser=when, help="When it ends: at most 400 days later."),
    ],
    document: Annotated[
        Path | None,
        typer.Option("--document", metavar="FILE", help="The signed document; its SHA-256 alone is sent."),
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", parser=sha256, help="The document's SHA-256.")
    ] = None,
) -> None:
    """Record a signed confidentiality and security agreement. Without one in force nobody is authorized to anything."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    if (document is None) == (digest is None):
        raise typer.BadParameter("name the document with --document FILE, or its digest with --sha256 HEX.")
    if document is not None:
        try:
            digest = hashlib.sha256(document.read_bytes()).hexdigest()
        except OSError as error:
            raise KeptError("UNREADABLE", f"{document} cannot be read: {error.strerror}.") from None
    assert digest is not None
    response = _stub(call).RecordAgreement(
        directory_pb2.RecordAgreementRequest(
            person_id=person,
            document_sha256=bytes.fromhex(digest),
            signed_at=stamp(signed),
            expires_at=stamp(expires),
        )
    )
    call.show(response, lambda: sheet(response))


def disable(call: Invocation, person: _Person) -> None:
    """Disable a person at once.

    No token of theirs is taken any more, and all their grants end.
    """
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    response = _stub(call).DisablePerson(directory_pb2.DisablePersonRequest(person_id=person))
    call.show(response, lambda: sheet(response))

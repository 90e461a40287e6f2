"""`kept people affiliation`: who has to do with a customer, and so decides no case of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.access_control.v1 import directory_pb2_grpc

_Person = Annotated[str, typer.Argument(metavar="PERSON", help="Person id, person_….")]
_Organization = Annotated[str, typer.Argument(metavar="ORG", help="The customer's organization, org_….")]


def add_to(people: typer.Typer) -> None:
    """Adds the group to that of people."""
    affiliation = group(
        people,
        "affiliation",
        "Who works or worked for a customer, owns a part of it, or is close to somebody there.",
    )
    verb(affiliation, "declare")(declare)
    verb(affiliation, "end")(end)
    verb(affiliation, "list")(list_)


def _stub(call: Invocation) -> "directory_pb2_grpc.DirectoryServiceStub":
    from kept.access_control.v1 import directory_pb2_grpc

    return directory_pb2_grpc.DirectoryServiceStub(call.channel("access_control"))


def declare(
    call: Invocation,
    organization: _Organization,
    person: Annotated[
        str,
        typer.Option(
            "--person",
            metavar="PERSON",
            help="For somebody else; needs the power role-assignment. Yourself without it.",
        ),
    ] = "",
) -> None:
    """Say that you have to do with a customer. It counts at once: you handle no case of it."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import sheet

    request = directory_pb2.DeclareAffiliationRequest(person_id=person, organization_id=organization)
    response = _stub(call).DeclareAffiliation(request)
    call.show(response, lambda: sheet(response.affiliation))


def end(call: Invocation, person: _Person, organization: _Organization) -> None:
    """End somebody's affiliation, never your own. Needs the power role-assignment."""
    from kept.access_control.v1 import directory_pb2

    request = directory_pb2.EndAffiliationRequest(person_id=person, organization_id=organization)
    call.show(_stub(call).EndAffiliation(request), lambda: "Ended.")


def list_(call: Invocation, person: _Person) -> None:
    """The affiliations of a person."""
    from kept.access_control.v1 import directory_pb2
    from kept.cli.output import table

    response = _stub(call).ListAffiliations(directory_pb2.ListAffiliationsRequest(person_id=person))
    columns = ["organization_id", "declared_by", "declared_at"]
    call.show(response, lambda: table(response.affiliations, columns, "There is none."))

"""`kept settings terms`: what applies to an organization now, and what it takes on itself."""

from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import OwnOrganization
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.settings.v1 import organizations_pb2_grpc, terms_pb2


def add_to(settings: typer.Typer) -> None:
    """Adds the group."""
    terms = group(
        settings, "terms", "What applies to your organization now, and what you take on yourselves."
    )
    verb(terms, "show")(show)
    verb(terms, "accept")(accept)


def _stub(call: Invocation) -> "organizations_pb2_grpc.OrganizationServiceStub":
    from kept.settings.v1 import organizations_pb2_grpc

    return organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))


def _current(call: Invocation, organization: str) -> "terms_pb2.GetEffectiveTermsResponse":
    from kept.settings.v1 import terms_pb2

    return _stub(call).GetEffectiveTerms(
        terms_pb2.GetEffectiveTermsRequest(organization_id=call.own_organization(organization))
    )


def show(call: Invocation, organization: OwnOrganization = "") -> None:
    """What applies to your organization now, sentence by sentence, with documents, acceptances and contacts.

    Each sentence names the commitment that it is about. A trial is under the general terms, and so is what anybody sends with a trial key.
    """
    response = _current(call, organization)
    call.show(response, lambda: _view(response))
    if any(duty.accepted_version != response.version for duty in response.duties):
        call.note(
            "Not everything is accepted in the version in force: read the duties, then kept settings terms accept."
        )


def _view(response: "terms_pb2.GetEffectiveTermsResponse") -> "list[RenderableType]":
    from rich.text import Text

    from kept.cli.output import table
    from kept.settings.v1 import api_keys_pb2

    whose = (
        "This organization is under the enterprise commitments."
        if response.terms == api_keys_pb2.TERMS_KIND_ENTERPRISE
        else "This organization is a trial: the general terms apply, not the enterprise commitments."
    )
    return [
        Text(
            f"Version {response.version}. {whose} What is sent with a trial key is under the general terms."
        ),
        Text(""),
        table(response.sentences, [("", "commitment_id"), "text", "basis"], "Nothing applies."),
        Text(""),
        table(
            response.duties,
            [("duty", "name"), "text", ("accepted in", "accepted_version"), "accepted_by", "accepted_at"],
            "There are no duties.",
        ),
        Text(""),
        table(response.documents, [("document", "name"), "version", "since", "link"], "No document applies."),
        Text(""),
        table(response.contacts, [("ask", "kind"), "address"], "There is nobody to ask."),
    ]


def accept(
    call: Invocation,
    duty: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="NAME", help="Accept the duty of this name; repeat it for each."),
    ] = None,
    accept_all: Annotated[
        bool, typer.Option("--accept-all", help="Accept every duty of --version, having read them.")
    ] = False,
    version: Annotated[
        str, typer.Option("--version", help="The version that you read. The current one without it.")
    ] = "",
    organization: OwnOrganization = "",
) -> None:
    """Accept what your organization takes on itself: each duty by its name (see: kept settings terms show)."""
    from kept.cli.output import plain, table
    from kept.settings.v1 import terms_pb2

    if accept_all == bool(duty):
        raise typer.BadParameter(
            "accept each duty with --accept NAME, or all with --accept-all; read them with `kept settings terms show`."
        )
    if accept_all or not version:
        current = _current(call, organization)
        if accept_all and version not in ("", current.version):
            raise typer.BadParameter(f"version {version} is not in force any more: read {current.version}.")
        version = version or current.version
        if accept_all:
            duty = [one.name for one in current.duties]
            for one in current.duties:
                call.note(plain(f"accepted: {one.name}: {one.text}"))
    response = _stub(call).AcceptTerms(
        terms_pb2.AcceptTermsRequest(
            organization_id=call.own_organization(organization),
            version=version,
            accepted_duties=list(dict.fromkeys(duty or ())),
        )
    )
    columns = [("duty", "name"), ("accepted in", "accepted_version"), "accepted_by", "accepted_at"]
    call.show(response, lambda: table(response.duties, columns, "There are no duties."))

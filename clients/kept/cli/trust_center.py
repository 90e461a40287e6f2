"""`kept trust-center`: what anybody may know and ask, customer or not; and what the vendor publishes and decides."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.arguments import (
    Deployment,
    Limit,
    OwnOrganization,
    Reason,
    RequestId,
    enum_value,
    sha256,
    stamp,
    when,
)
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.settings.v1 import trust_pb2, trust_pb2_grpc


class DocumentKind(StrEnum):
    """What a document is."""

    ISO_27001 = "iso-27001"
    ISO_42001 = "iso-42001"
    SOC_2_TYPE_II = "soc-2-type-ii"
    SUBPROCESSOR_LIST = "subprocessor-list"
    DATA_PROCESSING_ADDENDUM = "data-processing-addendum"
    OTHER = "other"


class Visibility(StrEnum):
    """Who may see a document."""

    PUBLIC = "public"
    ON_REQUEST = "on-request"
    CUSTOMERS = "customers"


_Name = Annotated[str, typer.Option("--name", help="Your full name.")]
_Email = Annotated[str, typer.Option("--email", metavar="EMAIL", help="Where the answer goes.")]
_Company = Annotated[str, typer.Option("--company", help="Your company.")]
_Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Version of the list.")]
_DOCUMENT_COLUMNS = [
    ("document", "document_id"),
    "kind",
    "title",
    "version",
    "visibility",
    "link",
    "published_at",
    "withdrawn_at",
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    trust = group(
        app,
        "trust-center",
        "Contacts, commitments, documents, sub-processors: for everybody, customer or not.",
    )
    verb(trust, "contacts")(contacts)
    verb(trust, "commitments")(commitments)
    verb(trust, "subprocessors")(subprocessors)
    verb(trust, "documents")(documents)
    verb(trust, "request")(request)
    verb(trust, "request-addendum")(request_addendum)
    verb(trust, "status")(status)
    verb(trust, "object")(object_)
    verb(trust, "objections")(objections)
    verb(trust, "requests")(requests)
    verb(trust, "decide")(decide)
    verb(trust, "publish-document")(publish_document)
    verb(trust, "withdraw-document")(withdraw_document)
    verb(trust, "publish-subprocessors")(publish_subprocessors)
    verb(trust, "withdraw-subprocessors")(withdraw_subprocessors)


def _public(call: Invocation) -> "trust_pb2_grpc.TrustServiceStub":
    """As nobody, unless --as says who."""
    from kept.settings.v1 import trust_pb2_grpc

    channel = call.public_channel("settings") if call.identity is None else call.channel("settings")
    return trust_pb2_grpc.TrustServiceStub(channel)


def _stub(call: Invocation) -> "trust_pb2_grpc.TrustServiceStub":
    from kept.settings.v1 import trust_pb2_grpc

    return trust_pb2_grpc.TrustServiceStub(call.channel("settings"))


def contacts(call: Invocation) -> None:
    """Whom to write to. Needs no sign-in."""
    from kept.cli.output import table
    from kept.settings.v1 import trust_pb2

    response = _public(call).GetContacts(trust_pb2.GetContactsRequest())
    call.show(response, lambda: table(response.contacts, [("for", "kind"), "address"], "There is none."))


def commitments(call: Invocation) -> None:
    """What the vendor promises its customers. Needs no sign-in.

    The commitments cover paying organizations; what is sent with a trial key falls under the general terms. What applies to your own
    organization now: kept settings terms show.
    """
    from kept.cli.output import plain, table
    from kept.settings.v1 import trust_pb2

    response = _public(call).GetCommitments(trust_pb2.GetCommitmentsRequest())
    call.show(
        response,
        lambda: [
            f"Version {plain(response.version)}. They cover paying organizations; trials, and what is sent with a trial key, fall under "
            f"the general terms: {plain(response.general_terms)}",
            table(response.commitments, [("", "commitment_id"), "group", "text"], "There is none."),
        ],
    )


def subprocessors(call: Invocation) -> None:
    """The sub-processors in force, and lists that are to come. Needs no sign-in."""
    from kept.settings.v1 import trust_pb2

    response = _public(call).ListSubprocessors(trust_pb2.ListSubprocessorsRequest())
    call.show(response, lambda: _lists(response))


def _lists(response: "trust_pb2.ListSubprocessorsResponse") -> "list[RenderableType]":
    shown: list[RenderableType] = []
    if response.HasField("current"):
        shown += _list(response.current, "in force since")
    else:
        shown.append("No list is in force.")
    for one in response.upcoming:
        shown += ["", *_list(one, "in force from")]
    return shown


def _list(one: "trust_pb2.SubprocessorList", words: str) -> "list[RenderableType]":
    from kept.cli.output import plain, table, value_words

    head = f"List {one.version}, {words} {value_words(one, 'effective_at')}"
    changes = [
        f"{what}: {', '.join(map(plain, who))}"
        for what, who in (("new", one.added), ("gone", one.removed), ("changed", one.changed))
        if who
    ]
    columns = ["name", "purpose", "location", "data"]
    return [". ".join([head, *changes]), table(one.subprocessors, columns, "There is none.")]


def documents(
    call: Invocation,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="Earlier versions, and what was taken back, too.")
    ] = False,
) -> None:
    """Certificates, reports and the addendum: which there are, and who may see them. Needs no sign-in."""
    from kept.cli.output import table
    from kept.settings.v1 import trust_pb2

    response = _public(call).ListDocuments(trust_pb2.ListDocumentsRequest(include_earlier=earlier))
    call.show(response, lambda: table(response.documents, _DOCUMENT_COLUMNS, "There is no document."))


def request(
    call: Invocation,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Document id, document_….")],
    name: _Name,
    email: _Email,
    company: _Company,
    request_id: RequestId = "",
) -> None:
    """Ask for a document. Needs no sign-in; with --as you ask for your organization.

    The claim in the answer is shown this once: `kept trust-center status` answers to it.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    response = _public(call).RequestDocument(
        trust_pb2.RequestDocumentRequest(
            request_id=call.request_id(request_id),
            document_id=document,
            requester=trust_pb2.Requester(name=name, email=email, company=company),
        )
    )
    call.show(response, lambda: sheet(response))
    call.note("Keep the claim now: it is shown this once.")


def request_addendum(
    call: Invocation,
    name: _Name,
    email: _Email,
    company: _Company,
    deployment: Annotated[
        Deployment, typer.Option("--deployment", help="Where your models run, or would.")
    ] = Deployment.SAAS,
    request_id: RequestId = "",
) -> None:
    """Ask for the data processing addendum. Needs no sign-in; with --as you ask for your organization.

    For private and third-party-cloud deployments none is required.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import organizations_pb2, trust_pb2

    response = _public(call).RequestDataProcessingAddendum(
        trust_pb2.RequestDataProcessingAddendumRequest(
            request_id=call.request_id(request_id),
            requester=trust_pb2.Requester(name=name, email=email, company=company),
            deployment=enum_value(organizations_pb2.Deployment, "DEPLOYMENT", deployment),
        )
    )
    if response.required:
        call.show(response, lambda: sheet(response))
        call.note("Keep the claim now: it is shown this once.")
    else:
        call.show(
            response,
            lambda: (
                "No addendum is required: with this deployment the vendor receives no prompts and no generations."
            ),
        )


def status(call: Invocation) -> None:
    """How a request stands, and where the document is once it is approved. Needs no sign-in.

    The claim is asked for, or taken from $KEPT_CLAIM.
    """
    from kept.cli.output import sheet
    from kept.cli.signing_in import secret
    from kept.settings.v1 import trust_pb2

    response = _public(call).GetTrustRequest(
        trust_pb2.GetTrustRequestRequest(claim=secret("KEPT_CLAIM", "Claim").strip())
    )
    call.show(response, lambda: sheet(response.request))


def object_(
    call: Invocation,
    version: _Version,
    reason: Reason,
    organization: OwnOrganization = "",
) -> None:
    """Object to a list of sub-processors before it is in force. Only an admin of the organization can."""
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    response = _stub(call).ObjectToSubprocessors(
        trust_pb2.ObjectToSubprocessorsRequest(
            organization_id=call.own_organization(organization), version=version, reason=reason
        )
    )
    call.show(response, lambda: sheet(response.objection))


def objections(call: Invocation, version: _Version) -> None:
    """Objections to a list of sub-processors.

    All of them for the role compliance, the own one for an admin.
    """
    from kept.cli.output import table
    from kept.settings.v1 import trust_pb2

    response = _stub(call).ListSubprocessorObjections(
        trust_pb2.ListSubprocessorObjectionsRequest(version=version)
    )
    columns = ["organization_id", "reason", "objected_by", "objected_at"]
    call.show(response, lambda: table(response.objections, columns, "Nobody objected."))


def requests(
    call: Invocation,
    decided: Annotated[bool, typer.Option("--decided", help="Decided ones too.")] = False,
    limit: Limit = 100,
) -> None:
    """Requests for documents that wait for a decision, oldest first. Needs the role compliance."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import trust_pb2

    wanted = trust_pb2.ListTrustRequestsRequest(include_decided=decided)
    response = pages(_stub(call).ListTrustRequests, wanted, limit)
    columns = [
        ("request", "trust_request_id"),
        "kind",
        ("document", "document_id"),
        ("name", "requester.name"),
        ("email", "requester.email"),
        ("company", "requester.company"),
        ("organization", "organization_id"),
        "state",
        "requested_at",
        "decided_by",
    ]
    call.show(response, lambda: table(response.requests, columns, "No request waits."))


def decide(
    call: Invocation,
    request_: Annotated[str, typer.Argument(metavar="REQUEST", help="Request id, trustrequest_….")],
    approve: Annotated[bool, typer.Option("--approve/--deny", help="Each request is decided once.")],
    reason: Reason,
    link: Annotated[
        str, typer.Option("--link", metavar="URL", help="Where the document can be fetched; to approve.")
    ] = "",
) -> None:
    """Decide a request for a document. Needs the role compliance. Who asked is told the reason and the link."""
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    if approve != bool(link):
        raise typer.BadParameter("give --link to approve, and none to deny.")
    response = _stub(call).DecideTrustRequest(
        trust_pb2.DecideTrustRequestRequest(
            trust_request_id=request_, approve=approve, reason=reason, link=link
        )
    )
    call.show(response, lambda: sheet(response.request))


def publish_document(
    call: Invocation,
    kind: Annotated[DocumentKind, typer.Option("--kind", help="What it is.")],
    title: Annotated[str, typer.Option("--title", help="Its title.")],
    version: Annotated[str, typer.Option("--version", help="Its version, such as 2026.")],
    visibility: Annotated[
        Visibility, typer.Option("--visibility", help="Who may see it.")
    ] = Visibility.ON_REQUEST,
    link: Annotated[
        str, typer.Option("--link", metavar="URL", help="Where it can be read; of public ones only.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="The document; only its SHA-256 is sent.")
    ] = None,
    digest: Annotated[
        str, typer.Option("--sha256", metavar="HEX", help="Its SHA-256, without the file.")
    ] = "",
) -> None:
    """Publish a version of a document. Needs the role compliance. A version is never replaced."""
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    if (file is None) != bool(digest):
        raise typer.BadParameter("give either --file FILE or --sha256 HEX.")
    response = _stub(call).PublishDocument(
        trust_pb2.PublishDocumentRequest(
            kind=enum_value(trust_pb2.DocumentKind, "DOCUMENT_KIND", kind),
            title=title,
            version=version,
            visibility=enum_value(trust_pb2.DocumentVisibility, "DOCUMENT_VISIBILITY", visibility),
            link=link,
            sha256=bytes.fromhex(sha256(digest)) if file is None else _digest(file),
        )
    )
    call.show(response, lambda: sheet(response.document))


def _digest(file: Path) -> bytes:
    import hashlib

    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").digest()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read ({type(error).__name__}).") from None


def withdraw_document(
    call: Invocation,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Document id, document_….")],
) -> None:
    """Take a document back. Needs the role compliance."""
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    response = _stub(call).WithdrawDocument(trust_pb2.WithdrawDocumentRequest(document_id=document))
    call.show(response, lambda: sheet(response.document))


def publish_subprocessors(
    call: Invocation,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="TOML: a table [[subprocessors]] for each, with name, purpose, location, data.",
        ),
    ],
    effective: Annotated[
        datetime | None,
        typer.Option(
            "--effective",
            metavar="TIME",
            parser=when,
            help="From when it counts, at the earliest; 30 days after the last organization was told without it.",
        ),
    ] = None,
    request_id: RequestId = "",
) -> None:
    """Publish the whole list of sub-processors. Needs the role compliance.

    Each organization is told, and the list counts 30 days after the last of them was. The first list counts at once.
    """
    from kept.settings.v1 import trust_pb2

    response = _stub(call).PublishSubprocessors(
        trust_pb2.PublishSubprocessorsRequest(
            request_id=call.request_id(request_id),
            subprocessors=[trust_pb2.Subprocessor(**one) for one in _entries(file)],
            effective_at=stamp(effective),
        )
    )
    call.show(response, lambda: _list(response.list, "in force from"))


def _entries(file: Path) -> list[dict[str, str]]:
    """What the file says. A usage error for what is no such list."""
    import tomllib

    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file} cannot be read as TOML ({type(error).__name__}).") from None
    found = content.get("subprocessors")
    wanted = {"name", "purpose", "location", "data"}
    if (
        set(content) != {"subprocessors"}
        or not isinstance(found, list)
        or not all(
            isinstance(one, dict)
            and set(one) == wanted
            and all(isinstance(value, str) for value in one.values())
            for one in found
        )
    ):
        raise typer.BadParameter(
            f"{file} has to hold [[subprocessors]] tables and nothing else, each with name, purpose, location and data."
        )
    return found


def withdraw_subprocessors(call: Invocation, version: _Version) -> None:
    """Take back a list that is not in force yet. Needs the role compliance."""
    from kept.cli.output import sheet
    from kept.settings.v1 import trust_pb2

    response = _stub(call).WithdrawSubprocessors(trust_pb2.WithdrawSubprocessorsRequest(version=version))
    call.show(response, lambda: sheet(response))

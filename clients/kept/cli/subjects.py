"""`kept settings subjects`: what the end users of a customer ask for, passed on by its admin."""

import base64
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli import subject_records
from kept.cli.arguments import (
    Limit,
    OwnOrganization,
    RequestId,
    SubjectRequestExtension,
    SubjectRequestKind,
    enum_value,
    stamp,
    when,
)
from kept.cli.invocation import Invocation, group, verb
from kept.cli.verification import read_evidence, trusted, verdict
from kept.cli.whole_files import private_file

if TYPE_CHECKING:
    from kept.settings.v1 import subject_requests_pb2_grpc

_Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Request id, subject_….")]
_EndUser = Annotated[
    str,
    typer.Option("--end-user", metavar="NAME", help="Your pseudonym of the end user, as it was recorded."),
]


def add_to(settings: typer.Typer) -> None:
    """Adds the group."""
    subjects = group(
        settings, "subjects", "Requests of your end users: find, export or erase what they left. For admins."
    )
    verb(subjects, "create")(create)
    verb(subjects, "list")(list_)
    verb(subjects, "show")(show)
    verb(subjects, "ask")(subject_records.ask)
    verb(subjects, "records")(subject_records.records)
    verb(subjects, "complete")(complete)
    verb(subjects, "extend")(extend)
    verb(subjects, "export")(export)
    verb(subjects, "verify")(verify)


def _stub(call: Invocation) -> "subject_requests_pb2_grpc.SubjectRequestServiceStub":
    from kept.settings.v1 import subject_requests_pb2_grpc

    return subject_requests_pb2_grpc.SubjectRequestServiceStub(call.channel("settings"))


def create(
    call: Invocation,
    kind: Annotated[
        SubjectRequestKind, typer.Argument(metavar="find|export|erase", help="What is asked for.")
    ],
    end_user: _EndUser,
    received: Annotated[
        datetime | None,
        typer.Option("--received", metavar="TIME", parser=when, help="When you got it, UTC. Now without it."),
    ] = None,
    reference: Annotated[
        str, typer.Option("--reference", metavar="TEXT", help="Your own number of it. No name: it stays.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Erase without being asked whether you mean it.")
    ] = False,
    organization: OwnOrganization = "",
    request_id: RequestId = "",
) -> None:
    """Pass on what an end user asks for. The answer says by when it is due.

    To find or to export: `ask` for the grant that it needs, then `records` writes what there is; say with `complete` when the end user has
    an answer. To erase: it begins at once, cannot be taken back, and ends with a certificate; `show` says how far it is.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import subject_requests_pb2

    if kind is SubjectRequestKind.ERASE and not yes:
        typed = str(typer.prompt("This cannot be taken back. Type the pseudonym again", err=True))
        if typed != end_user:
            raise typer.BadParameter("the pseudonyms differ; nothing was asked for.")
    response = _stub(call).CreateSubjectRequest(
        subject_requests_pb2.CreateSubjectRequestRequest(
            request_id=call.request_id(request_id),
            organization_id=call.own_organization(organization),
            kind=enum_value(subject_requests_pb2.SubjectRequestKind, "SUBJECT_REQUEST_KIND", kind),
            end_user=end_user,
            received_at=stamp(received),
            reference=reference,
        )
    )
    call.show(response, lambda: sheet(response))
    _note(call, response)


def _note(call: Invocation, response: Any) -> None:
    """How to go on with an open request."""
    from kept.cli.output import plain

    if response.HasField("records"):
        subject = response.request.subject_request_id
        call.note(
            plain(
                f"Its records, under a grant of your own: kept settings subjects ask {subject}, then "
                f"kept settings subjects records {subject} --grant GRANT"
            )
        )


def list_(
    call: Invocation,
    open_only: Annotated[bool, typer.Option("--open", help="Only those without an answer.")] = False,
    organization: OwnOrganization = "",
    limit: Limit = 100,
) -> None:
    """The requests that you passed on, oldest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import subject_requests_pb2

    wanted = subject_requests_pb2.ListSubjectRequestsRequest(
        organization_id=call.own_organization(organization), open_only=open_only
    )
    response = pages(_stub(call).ListSubjectRequests, wanted, limit)
    columns = [
        ("request", "subject_request_id"),
        "reference",
        "kind",
        "state",
        "due_at",
        "overdue",
        ("certificate", "certificate_id"),
    ]
    call.show(response, lambda: table(response.requests, columns, "Nothing was passed on."))


def show(call: Invocation, subject: _Subject) -> None:
    """One request: where it is, by when it is due, what a hold keeps, its certificate."""
    from kept.cli.output import sheet
    from kept.settings.v1 import subject_requests_pb2

    response = _stub(call).GetSubjectRequest(
        subject_requests_pb2.GetSubjectRequestRequest(subject_request_id=subject)
    )
    call.show(response, lambda: sheet(response))
    _note(call, response)


def complete(
    call: Invocation,
    subject: _Subject,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="It came to nothing: taken back, or not from this person.")
    ] = False,
) -> None:
    """Say that the end user has an answer. The pseudonym is not kept any longer. Erasures end by themselves."""
    from kept.cli.output import sheet
    from kept.settings.v1 import subject_requests_pb2

    response = _stub(call).CompleteSubjectRequest(
        subject_requests_pb2.CompleteSubjectRequestRequest(subject_request_id=subject, withdrawn=withdrawn)
    )
    call.show(response, lambda: sheet(response.request))


def extend(
    call: Invocation,
    subject: _Subject,
    why: Annotated[SubjectRequestExtension, typer.Option("--because", help="What makes it take longer.")],
) -> None:
    """Take two further months, once, before the deadline. Tell the end user within the first month: GDPR Art. 12(3) asks for it."""
    from kept.cli.output import sheet
    from kept.settings.v1 import subject_requests_pb2

    response = _stub(call).ExtendSubjectRequest(
        subject_requests_pb2.ExtendSubjectRequestRequest(
            subject_request_id=subject,
            extension=enum_value(
                subject_requests_pb2.SubjectRequestExtension, "SUBJECT_REQUEST_EXTENSION", why
            ),
        )
    )
    call.show(response, lambda: sheet(response.request))


def export(
    call: Invocation,
    subject: _Subject,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write it; - is the terminal.")
    ] = Path("-"),
) -> None:
    """Take along all that is known of a request, as JSON.

    Of an erasure the file holds the salt by which `verify` shows whose it was. Keep it with the certificate (`kept certificates get`).
    """
    from kept.cli.output import to_json
    from kept.client.documents import to_document
    from kept.settings.v1 import subject_requests_pb2

    with private_file(call, output) as out:
        response = _stub(call).ExportSubjectRequest(
            subject_requests_pb2.ExportSubjectRequestRequest(subject_request_id=subject)
        )
        out.write(to_json(to_document(response)).encode() + b"\n")


def verify(
    call: Invocation,
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="From `kept certificates get`.")],
    request: Annotated[
        Path, typer.Option("--request", metavar="FILE", help="From `kept settings subjects export`.")
    ],
    end_user: _EndUser,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="FILE", help="Signing keys to trust. Those pinned in the profile without it."
        ),
    ] = None,
) -> None:
    """Verify, offline, that a certificate is good and of this end user's erasure. Exit code 4 when it is not."""
    from kept.evidence.certificates import verify_certificate, verify_subject

    envelope, exported = read_evidence(certificate), read_evidence(request)
    salt = _salt(exported)
    result = verify_certificate(
        envelope, trusted(call, keys, "certificates"), trusted(call, keys, "audit_log")
    )
    if result.ok:
        result = verify_subject(envelope, salt, end_user)
    body = envelope.get("body") if isinstance(envelope, dict) else None
    facts = {
        name: value
        for name, value in (body if isinstance(body, dict) else {}).items()
        if result.ok and isinstance(value, str | int | bool)
    }
    verdict(call, str(certificate), facts, None if result.ok else result.problem)


def _salt(exported: Any) -> bytes:
    """The salt in an exported request. A usage error where there is none."""
    text = exported.get("subject_salt") if isinstance(exported, dict) else None
    try:
        salt = base64.b64decode(text or "", validate=True) if isinstance(text, str) else b""
    except ValueError:
        salt = b""
    if len(salt) != 32:
        raise typer.BadParameter("--request names no export of an erasure that has begun: it holds no salt.")
    return salt

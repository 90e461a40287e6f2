"""`kept settings subjects ask` and `records`: an admin finds and exports what an end user left, under a grant of her own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import RequestId
from kept.cli.invocation import Invocation
from kept.cli.whole_files import whole_file
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.settings.v1 import subject_requests_pb2

_Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="Request id, subject_….")]


def _open(call: Invocation, subject: str) -> "subject_requests_pb2.GetSubjectRequestResponse":
    """The request, with the filter of its records. Raises KeptError (WRONG_STATE) for one that has none."""
    from kept.settings.v1 import subject_requests_pb2, subject_requests_pb2_grpc

    stub = subject_requests_pb2_grpc.SubjectRequestServiceStub(call.channel("settings"))
    found = stub.GetSubjectRequest(subject_requests_pb2.GetSubjectRequestRequest(subject_request_id=subject))
    if not found.HasField("records"):
        raise KeptError(
            "WRONG_STATE", "The request is for no records: it has its answer, or it is an erasure."
        )
    return found


def ask(
    call: Invocation,
    subject: _Subject,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=60, help="How long, once approved.")] = 60,
    budget: Annotated[
        int, typer.Option("--budget", min=1, max=10_000_000, help="At most this many different records.")
    ] = 10_000,
    request_id: RequestId = "",
) -> None:
    """Ask for the grant that an open request needs: the least detail that answers it, for customer-export.

    Another admin of yours approves it (`kept access approve GRANT`), or the vendor where you have no other.
    """
    from google.protobuf.duration_pb2 import Duration

    from kept.access_control.v1 import grants_pb2, grants_pb2_grpc
    from kept.cli.output import plain, sheet

    records = _open(call, subject).records
    stub = grants_pb2_grpc.GrantServiceStub(call.channel("access_control"))
    response = stub.RequestGrant(
        grants_pb2.RequestGrantRequest(
            request_id=call.request_id(request_id),
            purpose=grants_pb2.PURPOSE_CUSTOMER_EXPORT,
            reason=f"a data subject's request: {subject}",
            duration=Duration(seconds=60 * minutes),
            data=grants_pb2.DataScope(
                organization_id=records.organization_id, detail=records.detail, budget=budget
            ),
        )
    )
    call.show(response, lambda: sheet(response.grant))
    grant = response.grant.grant_id
    call.note(plain(f"Once it is approved: kept settings subjects records {subject} --grant {grant}"))


def records(
    call: Invocation,
    subject: _Subject,
    grant: Annotated[
        str, typer.Option("--grant", "-g", metavar="GRANT", help="Your grant for customer-export, grant_….")
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write them; - is the terminal.")
    ] = Path("-"),
) -> None:
    """Write the records of an open request's end user, a JSON document a line: log data to find, content too to export.

    A file is in its place once every record is in it. Each record stands in your access log as read by you. When the end user has the
    answer, say so: `kept settings subjects complete`.
    """
    from kept.archive.contents import Contents
    from kept.cli.output import to_json

    count = 0
    with whole_file(output) as out:
        asked = _open(call, subject).records
        contents = Contents(call.channel, asked.organization_id)
        found = contents.grant(grant)
        found.data.detail = asked.detail
        for record in contents.records(found, end_user=asked.filter.end_user):
            out.write(to_json(record, one_line=True).encode() + b"\n")
            count += 1
    if call.as_json and str(output) != "-":
        call.show_document({"subject_request_id": subject, "records": count})
    call.note(f"{count} record{'' if count == 1 else 's'}.")

"""`kept logs`: records, read under a grant."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kept.cli.arguments import Detail, From, Limit, Records, Until, enum_value, raw_ids, stamp
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.access_control.v1 import grants_pb2
    from kept.logging.v1 import read_pb2

_Grant = Annotated[
    str,
    typer.Option(
        "--grant",
        "-g",
        metavar="GRANT",
        help="The grant to read under, grant_…. Without one the service refuses, and the refusal is audited.",
    ),
]
_Whose = Annotated[
    str,
    typer.Option(
        "--organization", "-o", metavar="ORG", help="Organization id, org_…. The grant's without it."
    ),
]
# What the wire takes.
_MOST_TOKENS: Final = 2**31 - 1
_Application = Annotated[
    str, typer.Option("--application", metavar="NAME", help="Only of this application, as it was recorded.")
]
_Model = Annotated[str, typer.Option("--model", metavar="NAME", help="Only of this model.")]
_EndUser = Annotated[
    str,
    typer.Option("--end-user", metavar="NAME", help="Only of this end user, by the customer's pseudonym."),
]
_FinishReason = Annotated[
    str, typer.Option("--finish-reason", metavar="WORD", help="Only where the model stopped for this reason.")
]
_Key = Annotated[
    str, typer.Option("--key", metavar="KEY", help="Only of calls made with this key, apikey_….")
]
_Country = Annotated[
    str, typer.Option("--country", metavar="XX", help="Only of calls from this country, by its two letters.")
]
_MinPrompt = Annotated[
    int | None,
    typer.Option(
        "--min-prompt-tokens",
        metavar="N",
        min=0,
        max=_MOST_TOKENS,
        help="Only with so many tokens in the prompt, or more.",
    ),
]
_MaxPrompt = Annotated[
    int | None,
    typer.Option(
        "--max-prompt-tokens",
        metavar="N",
        min=1,
        max=_MOST_TOKENS,
        help="Only with so many tokens in the prompt, or fewer.",
    ),
]
_MinGeneration = Annotated[
    int | None,
    typer.Option(
        "--min-generation-tokens",
        metavar="N",
        min=0,
        max=_MOST_TOKENS,
        help="Only with so many tokens generated, or more.",
    ),
]
_MaxGeneration = Annotated[
    int | None,
    typer.Option(
        "--max-generation-tokens",
        metavar="N",
        min=1,
        max=_MOST_TOKENS,
        help="Only with so many tokens generated, or fewer.",
    ),
]
_Flagged = Annotated[bool, typer.Option("--flagged", help="Only what a hold of safety review keeps.")]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    logs = group(app, "logs", "Read records, under a grant.")
    verb(logs, "list")(list_)
    verb(logs, "read")(read)


def _granted(call: Invocation, grant: str) -> "grants_pb2.DataScope | None":
    """What the grant covers, for what the command line leaves open; None without a grant."""
    from kept.access_control.v1 import grants_pb2, grants_pb2_grpc

    if not grant:
        return None
    stub = grants_pb2_grpc.GrantServiceStub(call.channel("access_control"))
    found = stub.GetGrant(grants_pb2.GetGrantRequest(grant_id=grant)).grant
    if not found.HasField("data"):
        raise typer.BadParameter(f"{grant} is a grant of a power; records need a grant of data.")
    return found.data


def _filter(from_: Any, until: Any, record: Any, **wanted: Any) -> "read_pb2.RecordFilter":
    """wanted: fields of the contract, as they are."""
    from kept.logging.v1 import read_pb2

    start: dict[str, Any] = {"from": stamp(from_)}  # a keyword of Python's
    return read_pb2.RecordFilter(until=stamp(until), record_ids=raw_ids(record), **start, **wanted)


def list_(
    call: Invocation,
    grant: _Grant = "",
    organization: _Whose = "",
    from_: From = None,
    until: Until = None,
    record: Records = None,
    application: _Application = "",
    model: _Model = "",
    end_user: _EndUser = "",
    finish_reason: _FinishReason = "",
    key: _Key = "",
    country: _Country = "",
    min_prompt_tokens: _MinPrompt = None,
    max_prompt_tokens: _MaxPrompt = None,
    min_generation_tokens: _MinGeneration = None,
    max_generation_tokens: _MaxGeneration = None,
    flagged: _Flagged = False,
    limit: Limit = 100,
) -> None:
    """Log data of the records that a grant covers.

    Oldest first. No content is opened, but each record counts on the grant's budget.
    """
    from kept.cli.output import table
    from kept.client.errors import KeptError
    from kept.client.reading import pages
    from kept.logging.v1 import read_pb2, read_pb2_grpc

    scope = _granted(call, grant) if not organization else None
    organization = organization or (scope.organization_id if scope is not None else "")
    if not organization:
        raise typer.BadParameter("name the organization (--organization ORG), or a grant (--grant GRANT).")
    stub = read_pb2_grpc.ReadServiceStub(call.channel("logging"))
    wanted = read_pb2.ListInteractionsRequest(
        grant_id=grant,
        organization_id=organization,
        filter=_filter(
            from_,
            until,
            record,
            application=application,
            model=model,
            end_user=end_user,
            finish_reason=finish_reason,
            api_key_id=key,
            country=country,
            min_prompt_tokens=min_prompt_tokens,
            max_prompt_tokens=max_prompt_tokens,
            min_generation_tokens=min_generation_tokens,
            max_generation_tokens=max_generation_tokens,
            flagged=flagged,
        ),
    )
    columns = [
        "record_id",
        "created_at",
        "application",
        "model",
        "end_user",
        ("prompt", "prompt_tokens"),
        ("generated", "generation_tokens"),
        "finish_reason",
        ("key", "api_key_kind"),
        "country",
        ("content", "has_content"),
    ]
    response = read_pb2.ListInteractionsResponse()

    def show() -> None:
        nothing = "Nothing that the grant covers is there, or matches."
        call.show(response, lambda: table(response.records, columns, nothing))

    try:
        pages(stub.ListInteractions, wanted, limit, response)
    except KeptError:
        if response.records:  # each counts on the grant's budget, which the rest is too much for
            show()
        raise
    show()


def read(
    call: Invocation,
    grant: _Grant = "",
    organization: _Whose = "",
    detail: Annotated[
        Detail | None,
        typer.Option("--detail", help="How much of each record. As much as the grant gives without it."),
    ] = None,
    from_: From = None,
    until: Until = None,
    record: Records = None,
    application: _Application = "",
    model: _Model = "",
    end_user: _EndUser = "",
    finish_reason: _FinishReason = "",
    key: _Key = "",
    country: _Country = "",
    min_prompt_tokens: _MinPrompt = None,
    max_prompt_tokens: _MaxPrompt = None,
    min_generation_tokens: _MinGeneration = None,
    max_generation_tokens: _MaxGeneration = None,
    flagged: _Flagged = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and show new records as they come.")
    ] = False,
) -> None:
    """Read the records that a grant covers.

    Oldest first; with --json, one record a line.

    kept logs read --grant grant_… shows everything the grant covers, in the grant's detail. Records are opened a hundred at a time; the
    audit log says that you have seen them, though you stop before the last.
    """
    from kept.access_control.v1 import grants_pb2
    from kept.client.documents import to_document
    from kept.client.reading import read_records
    from kept.logging.v1 import read_pb2, read_pb2_grpc

    scope = _granted(call, grant) if not organization or detail is None else None
    organization = organization or (scope.organization_id if scope is not None else "")
    if not organization:
        raise typer.BadParameter("name the organization (--organization ORG), or a grant (--grant GRANT).")
    level = grants_pb2.DETAIL_METADATA if scope is None else scope.detail
    if detail is not None:
        level = enum_value(grants_pb2.Detail, "DETAIL", detail)
    wanted = read_pb2.ReadInteractionsRequest(
        grant_id=grant,
        organization_id=organization,
        filter=_filter(
            from_,
            until,
            record,
            application=application,
            model=model,
            end_user=end_user,
            finish_reason=finish_reason,
            api_key_id=key,
            country=country,
            min_prompt_tokens=min_prompt_tokens,
            max_prompt_tokens=max_prompt_tokens,
            min_generation_tokens=min_generation_tokens,
            max_generation_tokens=max_generation_tokens,
            flagged=flagged,
        ),
        detail=level,
        follow=follow,
    )
    stub = read_pb2_grpc.ReadServiceStub(call.channel("logging"))
    count = 0
    for response in read_records(stub, wanted):
        count += 1
        if call.as_json:
            call.show_document(to_document(response), one_line=True)
        else:
            shown = list(_record(response.record))
            call.tell(lambda: shown)  # noqa: B023 - called at once
    call.note(f"{count} record{'' if count == 1 else 's'}.")


def _record(record: "read_pb2.InteractionRecord") -> "Iterator[RenderableType]":
    """Log data, then attributes, then each message with who speaks; parts that are no text by kind and size."""
    from rich.text import Text

    from kept.cli.output import enum_words, plain, sheet
    from kept.logging.v1 import interactions_pb2

    yield sheet(record, skip=("content", "content_size", "unreadable"))
    if record.unreadable:
        yield Text("  its content cannot be opened any more", style="italic")
    for attribute in sorted(record.content.attributes):
        value = record.content.attributes[attribute]
        yield Text(f"  {plain(attribute)}: {plain(value)}")
    for name, messages in (("prompt", record.content.prompt), ("generation", record.content.generations)):
        for message in messages:
            role = enum_words(interactions_pb2.MessageRole.DESCRIPTOR, message.role)
            yield Text(f"  {name}{f' ({role})' if role else ''}", style="bold")
            for part in message.parts:
                kind = f"[{plain(part.kind)}] " if part.kind else ""
                if part.WhichOneof("part") == "data":
                    yield Text(
                        f"    {kind}{len(part.data)} bytes of {plain(part.media_type) or 'unnamed type'}"
                    )
                else:
                    yield Text(
                        "\n".join(f"    {line}" for line in (kind + plain(part.text, lines=True)).split("\n"))
                    )
    yield Text("")

"""`kept access`: just-in-time access. Somebody asks, somebody else approves, time runs out."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kept.cli.arguments import (
    AnyOrganization,
    Detail,
    From,
    GrantState,
    Limit,
    Power,
    Purpose,
    Reason,
    Records,
    RequestId,
    Until,
    enum_value,
    raw_ids,
    refuse_beside,
    stamp,
    when,
)
from kept.cli.exits import Exit
from kept.cli.invocation import Invocation, group, verb
from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.access_control.v1 import grants_pb2, grants_pb2_grpc

# Different records of a grant, where it is not said how many.
_BUDGET: Final = 100
_Grant = Annotated[
    str, typer.Argument(metavar="GRANT", help="Grant id, grant_…, as `kept access list` shows it.")
]
_COLUMNS = [
    "grant_id",
    "state",
    "requested_by",
    ("organization", "data.organization_id"),
    ("detail", "data.detail"),
    "power",
    "purpose",
    "requested_at",
    ("until", "expires_at"),
]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    access = group(app, "access", "Request, approve and end access to data and to powers.")
    verb(access, "request")(request)
    verb(access, "list")(list_)
    verb(access, "show")(show)
    verb(access, "approve")(approve)
    verb(access, "deny")(deny)
    verb(access, "cancel")(cancel)
    verb(access, "revoke")(revoke)
    verb(access, "extend")(extend)
    verb(access, "break-glass")(break_glass)
    verb(access, "review")(review)


def _stub(call: Invocation) -> "grants_pb2_grpc.GrantServiceStub":
    from kept.access_control.v1 import grants_pb2_grpc

    return grants_pb2_grpc.GrantServiceStub(call.channel("access_control"))


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet

    call.show(response, lambda: sheet(response.grant))


def request(
    call: Invocation,
    reason: Reason,
    organization: Annotated[
        str,
        typer.Option(
            "--organization", "-o", metavar="ORG", help="Whose records, org_…. A customer's own without it."
        ),
    ] = "",
    purpose: Annotated[
        Purpose | None,
        typer.Option(
            "--purpose",
            help="What the access is for. Customers ask for customer-export, and need not say it.",
        ),
    ] = None,
    power: Annotated[Power | None, typer.Option("--power", help="Ask for a power, not for records.")] = None,
    detail: Annotated[
        Detail | None,
        typer.Option("--detail", help="At most this much of each record; metadata without it."),
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=480, help="How long, once approved.")] = 60,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            min=1,
            max=10_000_000,
            help=f"At most this many different records, {_BUDGET} without it; more than 100,000 for customer-export only.",
        ),
    ] = None,
    from_: From = None,
    until: Until = None,
    record: Records = None,
    case: Annotated[
        str, typer.Option("--case", metavar="CASE", help="For the review of this case, case_….")
    ] = "",
    screening: Annotated[
        bool,
        typer.Option("--screening", help="For screening to read again, not for you; needs --detail full."),
    ] = False,
    evaluation: Annotated[
        bool,
        typer.Option(
            "--evaluation",
            help="For an evaluation set of this case, not for you; needs --case and --detail masked.",
        ),
    ] = False,
    ticket: Annotated[str, typer.Option("--ticket", help="The ticket it belongs to.")] = "",
    start: Annotated[
        datetime | None,
        typer.Option("--start", metavar="TIME", parser=when, help="Not usable before this time, UTC."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the decision; exit code 1 unless approved.")
    ] = False,
    request_id: RequestId = "",
) -> None:
    """Ask for access, or for a power.

    To the records of an organization, or for a power over others. Somebody else has to approve.

    Records: kept access request -o org_… --purpose engineering-support --reason "ticket 4711: garbled answers" --detail masked

    A power: kept access request --power operator --reason "new customer"

    Customers: an admin asks for the own organization's, for an hour at most; another of its admins approves, or the vendor where there is
    no other.
    """
    from google.protobuf.duration_pb2 import Duration

    from kept.access_control.v1 import grants_pb2
    from kept.options.v1 import roles_pb2

    if power is None and not organization:
        organization = str(call.session.claims().get("org", ""))
        purpose = purpose or (Purpose.CUSTOMER_EXPORT if organization else None)
    if (power is None) == (organization == ""):
        raise typer.BadParameter(
            "ask for one of the two: records (--organization ORG), or a power (--power)."
        )
    if power is not None:
        refuse_beside(
            "--power",
            {
                "--purpose": purpose,
                "--detail": detail,
                "--budget": budget,
                "--from": from_,
                "--until": until,
                "--record": record,
                "--case": case,
                "--screening": screening,
                "--evaluation": evaluation,
            },
        )
    if screening and evaluation:
        raise typer.BadParameter("ask for one of the two: --screening or --evaluation.")
    message = grants_pb2.RequestGrantRequest(
        request_id=call.request_id(request_id),
        reason=reason,
        ticket=ticket,
        duration=Duration(seconds=60 * minutes),
        start_at=stamp(start),
    )
    if power is not None:
        message.power = enum_value(roles_pb2.Power, "POWER", power)
    else:
        if purpose is None:
            raise typer.BadParameter("say what the access is for with --purpose.")
        message.purpose = enum_value(grants_pb2.Purpose, "PURPOSE", purpose)
        scope: dict[str, Any] = {"from": stamp(from_)}  # a keyword of Python's
        message.data.CopyFrom(
            grants_pb2.DataScope(
                organization_id=organization,
                until=stamp(until),
                record_ids=raw_ids(record),
                detail=enum_value(grants_pb2.Detail, "DETAIL", detail or Detail.METADATA),
                budget=budget or _BUDGET,
                case_id=case,
                permission=_permission(screening=screening, evaluation=evaluation),
                **scope,
            )
        )
    response = _stub(call).RequestGrant(message)
    if not wait:
        _show(call, response)
        return
    call.note(f"{response.grant.grant_id} waits for a decision…")
    response.grant.CopyFrom(_decided(call, response.grant))
    _show(call, response)
    if response.grant.state != grants_pb2.GRANT_STATE_APPROVED:
        raise typer.Exit(Exit.REFUSED)


def _permission(*, screening: bool, evaluation: bool) -> "grants_pb2.ServicePermission.ValueType":
    from kept.access_control.v1 import grants_pb2

    if screening:
        return grants_pb2.SERVICE_PERMISSION_SCREENING
    return (
        grants_pb2.SERVICE_PERMISSION_EVALUATION if evaluation else grants_pb2.SERVICE_PERMISSION_UNSPECIFIED
    )


def _decided(call: Invocation, grant: "grants_pb2.Grant") -> "grants_pb2.Grant":
    """The grant once it is no longer only requested. A watch that breaks is begun again."""
    import time

    from kept.access_control.v1 import grants_pb2
    from kept.client.reading import PAUSES

    stub, failures = _stub(call), 0
    while grant.state == grants_pb2.GRANT_STATE_REQUESTED:
        try:
            for seen in stub.WatchGrant(grants_pb2.WatchGrantRequest(grant_id=grant.grant_id)):
                grant, failures = seen.grant, 0
                if grant.state != grants_pb2.GRANT_STATE_REQUESTED:
                    break
            else:
                failures += 1
        except KeptError as error:
            if error.status != "UNAVAILABLE" or failures == len(PAUSES):
                raise
            failures += 1
        if failures:
            time.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
    return grant


def list_(
    call: Invocation,
    state: Annotated[GrantState | None, typer.Option("--state", help="Only in this state.")] = None,
    organization: AnyOrganization = "",
    limit: Limit = 100,
) -> None:
    """The grants that concern you.

    Newest first: your own, those you could decide, those on your organization.
    """
    from kept.access_control.v1 import grants_pb2
    from kept.cli.output import table
    from kept.client.reading import pages

    wanted = grants_pb2.ListGrantsRequest(organization_id=organization)
    if state is not None:
        wanted.state = enum_value(grants_pb2.GrantState, "GRANT_STATE", state)
    response = pages(_stub(call).ListGrants, wanted, limit)
    call.show(response, lambda: table(response.grants, _COLUMNS, "There is no grant to show."))


def show(call: Invocation, grant: _Grant) -> None:
    """One grant.

    What it covers, where it is, what it waits for, how much of its budget is used.
    """
    from kept.access_control.v1 import grants_pb2

    _show(call, _stub(call).GetGrant(grants_pb2.GetGrantRequest(grant_id=grant)))


def approve(
    call: Invocation,
    grant: _Grant,
    detail: Annotated[
        Detail | None, typer.Option("--detail", help="Grant less detail than was asked for.")
    ] = None,
    minutes: Annotated[
        int | None, typer.Option("--minutes", min=1, max=480, help="Grant less time than was asked for.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Grant fewer records than were asked for.")
    ] = None,
    from_: From = None,
    until: Until = None,
    record: Records = None,
    etag: Annotated[
        str,
        typer.Option(
            "--etag",
            help="Only what `show` gave this etag for. What waits now, and it says what that was, without it.",
        ),
    ] = "",
) -> None:
    """Approve somebody else's request, or less than that.

    It is active once every approval it needs is there. Of an active grant that somebody asked to extend, it approves the extension.
    """
    from google.protobuf.duration_pb2 import Duration

    from kept.access_control.v1 import grants_pb2

    message = grants_pb2.ApproveGrantRequest(grant_id=grant, etag=etag)
    if any((detail, minutes, budget, from_, until, record)):
        less: dict[str, Any] = {"from": stamp(from_), "budget": budget}  # the first a keyword of Python's
        if detail is not None:
            less["detail"] = enum_value(grants_pb2.Detail, "DETAIL", detail)
        if minutes is not None:
            less["duration"] = Duration(seconds=60 * minutes)
        message.narrowing.CopyFrom(
            grants_pb2.Narrowing(until=stamp(until), record_ids=raw_ids(record), **less)
        )
    said = ""
    if not etag:
        waiting = _stub(call).GetGrant(grants_pb2.GetGrantRequest(grant_id=grant)).grant
        message.etag, said = waiting.etag, _waiting(waiting)
    response = _stub(call).ApproveGrant(message)
    if said:
        call.note(said)
    _show(call, response)


def _waiting(grant: "grants_pb2.Grant") -> str:
    """What there was to approve, for who did not look."""
    from kept.cli.output import value_words

    if grant.HasField("extension"):
        time, reason = (value_words(grant.extension, name) for name in ("duration", "reason"))
        return f"Asked for were {time} more: {reason}"
    time, reason = (value_words(grant, name) for name in ("duration", "reason"))
    what = value_words(grant, "power") or " of ".join(
        value_words(grant, f"data.{name}") for name in ("detail", "organization_id")
    )
    return f"Asked for was {what} for {time}: {reason}"


def deny(call: Invocation, grant: _Grant, reason: Reason) -> None:
    """Deny somebody else's request, or the extension of an active grant; the first denial ends it."""
    from kept.access_control.v1 import grants_pb2

    _show(call, _stub(call).DenyGrant(grants_pb2.DenyGrantRequest(grant_id=grant, reason=reason)))


def cancel(call: Invocation, grant: _Grant) -> None:
    """Take your own undecided request back, or the one for an extension."""
    from kept.access_control.v1 import grants_pb2

    _show(call, _stub(call).CancelGrant(grants_pb2.CancelGrantRequest(grant_id=grant)))


def revoke(call: Invocation, grant: _Grant, reason: Reason) -> None:
    """End an active grant at once.

    Reads in progress end within a second.
    """
    from kept.access_control.v1 import grants_pb2

    _show(call, _stub(call).RevokeGrant(grants_pb2.RevokeGrantRequest(grant_id=grant, reason=reason)))


def extend(
    call: Invocation,
    grant: _Grant,
    reason: Reason,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=480, help="How much longer.")] = 30,
) -> None:
    """Ask for more time under a grant of yours.

    Somebody else has to approve that (`kept access approve`); otherwise it ends when it would have. A day is the most in all.
    """
    from google.protobuf.duration_pb2 import Duration

    from kept.access_control.v1 import grants_pb2

    message = grants_pb2.ExtendGrantRequest(
        grant_id=grant, reason=reason, duration=Duration(seconds=60 * minutes)
    )
    _show(call, _stub(call).ExtendGrant(message))


def break_glass(
    call: Invocation,
    reason: Reason,
    organization: Annotated[
        str, typer.Option("--organization", "-o", metavar="ORG", help="Whose records, org_….")
    ],
    ticket: Annotated[str, typer.Option("--ticket", help="The incident it belongs to.")],
    purpose: Annotated[
        Purpose, typer.Option("--purpose", help="What the access is for.")
    ] = Purpose.ENGINEERING_SUPPORT,
    detail: Annotated[
        Detail, typer.Option("--detail", help="At most this much of each record.")
    ] = Detail.MASKED,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=60, help="How long, from now on.")] = 15,
    budget: Annotated[
        int, typer.Option("--budget", min=1, max=100_000, help="At most this many different records.")
    ] = 100,
    from_: From = None,
    until: Until = None,
    record: Records = None,
    request_id: RequestId = "",
) -> None:
    """Open records at once, while you are on call.

    Nobody has to approve, and everybody hears of it. Somebody else reviews it within a day, or you are granted nothing more. Not for
    organizations that approve each access themselves.
    """
    from google.protobuf.duration_pb2 import Duration

    from kept.access_control.v1 import grants_pb2

    scope: dict[str, Any] = {"from": stamp(from_)}  # a keyword of Python's
    message = grants_pb2.BreakGlassRequest(
        request_id=call.request_id(request_id),
        reason=reason,
        ticket=ticket,
        purpose=enum_value(grants_pb2.Purpose, "PURPOSE", purpose),
        duration=Duration(seconds=60 * minutes),
        data=grants_pb2.DataScope(
            organization_id=organization,
            until=stamp(until),
            record_ids=raw_ids(record),
            detail=enum_value(grants_pb2.Detail, "DETAIL", detail),
            budget=budget,
            **scope,
        ),
    )
    _show(call, _stub(call).BreakGlass(message))


def review(
    call: Invocation,
    grant: _Grant,
    reason: Reason,
    justified: Annotated[
        bool, typer.Option("--justified/--unjustified", help="What you find; unjustified ends it at once.")
    ],
) -> None:
    """Review an access that somebody took without asking."""
    from kept.access_control.v1 import grants_pb2

    verdict = (
        grants_pb2.BREAK_GLASS_VERDICT_JUSTIFIED if justified else grants_pb2.BREAK_GLASS_VERDICT_UNJUSTIFIED
    )
    message = grants_pb2.ReviewBreakGlassRequest(grant_id=grant, verdict=verdict, reason=reason)
    _show(call, _stub(call).ReviewBreakGlass(message))

"""`kept holds`: what is kept beyond its day, for a stated reason."""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kept.cli.arguments import (
    AnyOrganization,
    Limit,
    Organization,
    Reason,
    RequestId,
    raw_ids,
    record_id,
    refuse_beside,
    stamp,
    when,
)
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.retention.v1 import holds_pb2_grpc

_ReviewAt = Annotated[
    datetime,
    typer.Option("--review-at", metavar="TIME", parser=when, help="When somebody looks at it again, UTC."),
]
_Hold = Annotated[str, typer.Argument(metavar="HOLD", help="Hold id, hold_….")]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    holds = group(app, "holds", "Legal holds: records kept beyond their day. Changes need the power legal.")
    verb(holds, "place")(place)
    verb(holds, "confirm")(confirm)
    verb(holds, "extend")(extend)
    verb(holds, "release")(release)
    verb(holds, "secrecy")(secrecy)
    verb(holds, "list")(list_)


def _stub(call: Invocation) -> "holds_pb2_grpc.HoldServiceStub":
    from kept.retention.v1 import holds_pb2_grpc

    return holds_pb2_grpc.HoldServiceStub(call.channel("retention"))


def _show(call: Invocation, response: Any) -> None:
    from kept.cli.output import sheet

    call.show(response, lambda: sheet(response.hold))


def place(
    call: Invocation,
    organization: Organization,
    reference: Annotated[str, typer.Option("--reference", help="The matter it belongs to.")],
    review_at: _ReviewAt,
    record: Annotated[
        list[uuid.UUID] | None,
        typer.Option(
            "--record", metavar="UUID", parser=record_id, help="Keep this record; repeat it, 500 at most."
        ),
    ] = None,
    end_user: Annotated[
        str,
        typer.Option(
            "--end-user",
            metavar="KEY",
            help="Keep all of this end user, also what comes; the customer's pseudonym.",
        ),
    ] = "",
    from_day: Annotated[
        datetime | None,
        typer.Option("--from", metavar="DAY", parser=when, help="Keep all from this day on, UTC."),
    ] = None,
    until_day: Annotated[
        datetime | None,
        typer.Option(
            "--until", metavar="DAY", parser=when, help="Keep all up to and including this day, UTC."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Keep all of the organization, also what comes.")
    ] = False,
    secret_by: Annotated[
        str,
        typer.Option(
            "--confidential",
            metavar="BASIS",
            help="The law forbids telling the customer: the order or paragraph that says so.",
        ),
    ] = "",
    look_again: Annotated[
        datetime | None,
        typer.Option(
            "--secrecy-review-at",
            metavar="TIME",
            parser=when,
            help="With --confidential: when somebody looks at that again, UTC; a year ahead at most.",
        ),
    ] = None,
    request_id: RequestId = "",
) -> None:
    """Place a legal hold on records, or on all that matches, what comes later included. It protects once its state is active, and lapses
    unless a second person confirms it within 72 hours. What it came too late for is named."""
    from kept.retention.v1 import holds_pb2

    is_scope = bool(end_user or from_day or until_day or everything)
    if bool(record) is is_scope:
        raise typer.BadParameter(
            "name records (--record), or say what matches (--end-user, --from, --until, --everything)."
        )
    if everything:
        refuse_beside("--everything", {"--end-user": end_user, "--from": from_day, "--until": until_day})
    if bool(secret_by) is not (look_again is not None):
        raise typer.BadParameter("--confidential and --secrecy-review-at go together.")
    secrecy = None
    if look_again is not None:
        secrecy = holds_pb2.HoldSecrecy(legal_basis=secret_by, review_at=stamp(look_again))
    scope = holds_pb2.HoldScope(
        end_user=end_user,
        first_day="" if from_day is None else from_day.date().isoformat(),
        last_day="" if until_day is None else until_day.date().isoformat(),
    )
    _show(
        call,
        _stub(call).PlaceHold(
            holds_pb2.PlaceHoldRequest(
                request_id=call.request_id(request_id),
                kind=holds_pb2.HOLD_KIND_LEGAL,
                organization_id=organization,
                record_ids=raw_ids(record),
                reference=reference,
                review_at=stamp(review_at),
                scope=scope if is_scope else None,
                secrecy=secrecy,
            )
        ),
    )


def confirm(call: Invocation, hold: _Hold) -> None:
    """Confirm a hold that somebody else placed."""
    from kept.retention.v1 import holds_pb2

    _show(call, _stub(call).ConfirmHold(holds_pb2.ConfirmHoldRequest(hold_id=hold)))


def release(call: Invocation, hold: _Hold, reason: Reason) -> None:
    """Release a hold. What nothing else keeps and is due is gone at once."""
    from kept.retention.v1 import holds_pb2

    _show(call, _stub(call).ReleaseHold(holds_pb2.ReleaseHoldRequest(hold_id=hold, reason=reason)))


def extend(call: Invocation, hold: _Hold, review_at: _ReviewAt, reason: Reason) -> None:
    """Put the review of a confirmed hold off to a later day."""
    from kept.retention.v1 import holds_pb2

    request = holds_pb2.ExtendHoldRequest(hold_id=hold, review_at=stamp(review_at), reason=reason)
    _show(call, _stub(call).ExtendHold(request))


def secrecy(
    call: Invocation,
    hold: _Hold,
    reason: Reason,
    ends: Annotated[
        bool, typer.Option("--ends", help="The customer may be told from now on. It cannot be taken back.")
    ] = False,
    review_at: Annotated[
        datetime | None,
        typer.Option("--review-at", metavar="TIME", parser=when, help="It stays; look again then, UTC."),
    ] = None,
) -> None:
    """Say what came of looking at a confidential hold's secrecy again: it ends, or stays until a later look."""
    from kept.retention.v1 import holds_pb2

    if ends is (review_at is not None):
        raise typer.BadParameter("say that it ends (--ends), or when to look again (--review-at).")
    outcome: dict[str, Any] = {"ends": True} if review_at is None else {"review_at": stamp(review_at)}
    request = holds_pb2.ReviewHoldSecrecyRequest(hold_id=hold, reason=reason, **outcome)
    _show(call, _stub(call).ReviewHoldSecrecy(request))


def list_(call: Invocation, organization: AnyOrganization = "", limit: Limit = 100) -> None:
    """Holds, newest first. Customers see those on their own organization."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.retention.v1 import holds_pb2

    own = organization or str(call.session.claims().get("org", ""))
    response = pages(_stub(call).ListHolds, holds_pb2.ListHoldsRequest(organization_id=own), limit)
    columns = [
        "hold_id",
        "kind",
        "state",
        "organization_id",
        "reference",
        "placed_by",
        "confirmed_by",
        "review_at",
        ("records", "records_kept"),
    ]
    call.show(response, lambda: table(response.holds, columns, "There is no hold."))

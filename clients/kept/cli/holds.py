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
    stamp,
    when,
)
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.retention.v1 import holds_pb2_grpc

_Hold = Annotated[str, typer.Argument(metavar="HOLD", help="Hold id, hold_….")]


def add_to(app: typer.Typer) -> None:
    """Adds the group."""
    holds = group(app, "holds", "Legal holds: records kept beyond their day. Changes need the power legal.")
    verb(holds, "place")(place)
    verb(holds, "confirm")(confirm)
    verb(holds, "release")(release)
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
    record: Annotated[
        list[uuid.UUID],
        typer.Option(
            "--record", metavar="UUID", parser=record_id, help="Keep this record; repeat it, 500 at most."
        ),
    ],
    reference: Annotated[str, typer.Option("--reference", help="The matter it belongs to.")],
    review_at: Annotated[
        datetime,
        typer.Option(
            "--review-at", metavar="TIME", parser=when, help="When somebody looks at it again, UTC."
        ),
    ],
    request_id: RequestId = "",
) -> None:
    """Place a legal hold. It protects once its state is active, and lapses unless a second person confirms it within 72 hours."""
    from kept.retention.v1 import holds_pb2

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
        "record_ids",
    ]
    call.show(response, lambda: table(response.holds, columns, "There is no hold."))

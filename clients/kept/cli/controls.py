"""`kept settings controls` and `kept settings zdr`: what an organization decides about its data."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import AnyOrganization, Limit, OwnOrganization, Reason, Switch
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kept.settings.v1 import data_controls_pb2, data_controls_pb2_grpc, zero_data_retention_pb2_grpc


def add_to(settings: typer.Typer) -> None:
    """Adds both groups."""
    controls = group(settings, "controls", "What an organization's admins decide about its data.")
    verb(controls, "show")(show)
    verb(controls, "set")(set_)
    verb(controls, "history")(history)
    verb(controls, "consent")(consent)
    verb(controls, "watch")(watch)
    zdr = group(settings, "zdr", "Zero data retention: no prompt or generation is logged.")
    verb(zdr, "commitments")(commitments)
    verb(zdr, "limits")(limits)
    verb(zdr, "request")(request)
    verb(zdr, "decide")(decide)
    verb(zdr, "end")(end)
    verb(zdr, "list")(list_)


def _controls(call: Invocation) -> "data_controls_pb2_grpc.DataControlsServiceStub":
    from kept.settings.v1 import data_controls_pb2_grpc

    return data_controls_pb2_grpc.DataControlsServiceStub(call.channel("settings"))


def show(call: Invocation, organization: OwnOrganization = "") -> None:
    """The controls as they are now."""
    from kept.cli.output import plain, sheet
    from kept.settings.v1 import data_controls_pb2

    response = _controls(call).GetDataControls(
        data_controls_pb2.GetDataControlsRequest(organization_id=call.own_organization(organization))
    )
    call.show(response, lambda: [sheet(response.controls), *map(plain, response.notes)])


def watch(call: Invocation, organization: OwnOrganization = "") -> None:
    """The controls now, and again with every change, until you stop it."""
    from kept.client.documents import to_document
    from kept.client.reading import resumed
    from kept.settings.v1 import data_controls_pb2

    stub = _controls(call)
    wanted = data_controls_pb2.WatchDataControlsRequest(organization_id=call.own_organization(organization))

    def open_() -> Iterator[data_controls_pb2.WatchDataControlsResponse]:
        return iter(stub.WatchDataControls(wanted))

    for response in resumed(open_):
        wanted.after_etag = response.change.controls.etag
        if call.as_json:
            call.show_document(to_document(response), one_line=True)
        else:
            call.tell(partial(_shown, response.change))


def _shown(change: "data_controls_pb2.DataControlsChange") -> "list[RenderableType]":
    from kept.cli.output import sheet

    return [sheet(change), ""]


def set_(
    call: Invocation,
    training: Annotated[
        Switch | None, typer.Option("--training", help="Whether your data may be used for training.")
    ] = None,
    customer_approval: Annotated[
        Switch | None,
        typer.Option("--customer-approval", help="Whether an admin of yours has to approve each access."),
    ] = None,
    etag: Annotated[
        str,
        typer.Option(
            "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
        ),
    ] = "",
    organization: OwnOrganization = "",
) -> None:
    """Change the controls. Only an admin of the organization can.

    Turning training off counts from the instant of acceptance. Approval counts everywhere from "effective at" on.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import data_controls_pb2

    if training is None and customer_approval is None:
        raise typer.BadParameter("say what to change: --training on|off, --customer-approval on|off.")
    own, stub = call.own_organization(organization), _controls(call)
    if not etag:
        found = stub.GetDataControls(data_controls_pb2.GetDataControlsRequest(organization_id=own))
        etag = found.controls.etag
    wanted = data_controls_pb2.UpdateDataControlsRequest(organization_id=own, etag=etag)
    if training is not None:
        wanted.training_allowed = training is Switch.ON
    if customer_approval is not None:
        wanted.require_customer_approval = customer_approval is Switch.ON
    response = stub.UpdateDataControls(wanted)
    call.show(response, lambda: sheet(response.change))


def history(call: Invocation, organization: OwnOrganization = "", limit: Limit = 1000) -> None:
    """Every change there ever was.

    Oldest first, with who and when.
    """
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import data_controls_pb2

    wanted = data_controls_pb2.ListDataControlsHistoryRequest(
        organization_id=call.own_organization(organization)
    )
    response = pages(_controls(call).ListDataControlsHistory, wanted, limit)
    columns = [
        "accepted_at",
        "effective_at",
        ("training", "controls.training_allowed"),
        ("customer approval", "controls.require_customer_approval"),
        "changed_by",
    ]
    call.show(response, lambda: table(response.changes, columns, "Nothing was ever set."))


def consent(call: Invocation, organization: OwnOrganization = "") -> None:
    """When training was allowed.

    As exact intervals without gaps, oldest first.
    """
    from kept.cli.output import table
    from kept.settings.v1 import policies_pb2, policies_pb2_grpc

    stub = policies_pb2_grpc.PolicyServiceStub(call.channel("settings"))
    response = stub.GetConsentHistory(
        policies_pb2.GetConsentHistoryRequest(organization_id=call.own_organization(organization))
    )
    columns = ["from", "until", ("training", "training_allowed")]
    call.show(response, lambda: table(response.intervals, columns, "Nothing was ever set."))


def _zdr(
    call: Invocation, *, public: bool = False
) -> "zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub":
    from kept.settings.v1 import zero_data_retention_pb2_grpc

    channel = call.public_channel("settings") if public else call.channel("settings")
    return zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(channel)


_ZDR_COLUMNS = [
    ("request", "zero_data_retention_request_id"),
    "organization_id",
    "state",
    ("version", "commitments_version"),
    "requested_by",
    "requested_at",
    "approved_by",
    "effective_at",
    "ends_at",
    ("ended from", "end_effective_at"),
]


def commitments(
    call: Invocation,
    version: Annotated[
        str, typer.Option("--version", help="An earlier version. The one now in force without it.")
    ] = "",
) -> None:
    """The commitments that come with zero data retention.

    In the version now in force, or in the one that you accepted. Needs no sign-in.
    """
    from kept.cli.output import table
    from kept.settings.v1 import zero_data_retention_pb2

    response = _zdr(call, public=True).GetAdditionalCommitments(
        zero_data_retention_pb2.GetAdditionalCommitmentsRequest(version=version)
    )
    call.show(
        response,
        lambda: [
            f"Version {response.version}",
            table(response.commitments, ["name", "text"], "There are none."),
        ],
    )


def limits(call: Invocation) -> None:
    """What is not to be had while zero data retention is in force, and why. Needs no sign-in."""
    from kept.cli.output import table
    from kept.settings.v1 import zero_data_retention_pb2

    response = _zdr(call, public=True).GetAdditionalCommitments(
        zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
    )
    call.show(response, lambda: table(response.limits, ["name", "text"], "Everything is."))


def request(
    call: Invocation,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept", metavar="NAME", help="Accept the commitment of this name; repeat it for each."
        ),
    ] = None,
    accept_all: Annotated[
        bool, typer.Option("--accept-all", help="Accept every commitment of --version, having read them.")
    ] = False,
    version: Annotated[
        str, typer.Option("--version", help="The version that you read. The current one without it.")
    ] = "",
    organization: OwnOrganization = "",
) -> None:
    """Ask for zero data retention. Every additional commitment has to be accepted by name (see: kept settings zdr commitments)."""
    from kept.cli.output import plain, sheet
    from kept.settings.v1 import zero_data_retention_pb2

    if accept_all == bool(accept):
        raise typer.BadParameter(
            "accept each commitment with --accept NAME, or all with --accept-all; read them with "
            "`kept settings zdr commitments`."
        )
    if accept_all or not version:
        current = _zdr(call, public=True).GetAdditionalCommitments(
            zero_data_retention_pb2.GetAdditionalCommitmentsRequest()
        )
        if version in ("", current.version) and accept_all:
            accept = [commitment.name for commitment in current.commitments]
            for commitment in current.commitments:
                call.note(plain(f"accepted: {commitment.name}: {commitment.text}"))
        elif accept_all:
            raise typer.BadParameter(f"version {version} is not in force any more: read {current.version}.")
        version = version or current.version
    response = _zdr(call).RequestZeroDataRetention(
        zero_data_retention_pb2.RequestZeroDataRetentionRequest(
            organization_id=call.own_organization(organization),
            commitments_version=version,
            accepted_commitments=list(dict.fromkeys(accept or ())),
        )
    )
    call.show(response, lambda: sheet(response.request))


def decide(
    call: Invocation,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="Request id, zdr_….")],
    approve: Annotated[
        bool, typer.Option("--approve/--deny", help="Two people have to approve; one can deny.")
    ],
    reason: Reason,
) -> None:
    """Decide a request for zero data retention. Needs the role compliance."""
    from kept.cli.output import sheet
    from kept.settings.v1 import zero_data_retention_pb2

    response = _zdr(call).DecideZeroDataRetention(
        zero_data_retention_pb2.DecideZeroDataRetentionRequest(
            zero_data_retention_request_id=request_id, approve=approve, reason=reason
        )
    )
    call.show(response, lambda: sheet(response.request))


def end(
    call: Invocation,
    request_id: Annotated[str, typer.Argument(metavar="REQUEST", help="Request id, zdr_….")],
    reason: Reason,
) -> None:
    """End zero data retention, or take a request back.

    An admin ends it at once: content is logged again from "end effective at" on. For compliance it takes two people and a notice to the
    customer: it ends when "ends at" comes.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import zero_data_retention_pb2

    response = _zdr(call).EndZeroDataRetention(
        zero_data_retention_pb2.EndZeroDataRetentionRequest(
            zero_data_retention_request_id=request_id, reason=reason
        )
    )
    call.show(response, lambda: sheet(response.request))


def list_(call: Invocation, organization: AnyOrganization = "") -> None:
    """Requests for zero data retention.

    A customer's own; for compliance, all that wait for a decision.
    """
    from kept.cli.output import table
    from kept.settings.v1 import zero_data_retention_pb2

    own = organization or str(call.session.claims().get("org", ""))
    response = _zdr(call).ListZeroDataRetentionRequests(
        zero_data_retention_pb2.ListZeroDataRetentionRequestsRequest(organization_id=own)
    )
    call.show(response, lambda: table(response.requests, _ZDR_COLUMNS, "There is no request."))

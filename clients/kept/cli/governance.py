"""`kept settings addresses` and `kept settings opt-outs`: whom the vendor writes to, and training turned off where no admin can be
reached."""

from typing import TYPE_CHECKING, Annotated

import typer

from kept.cli.arguments import AnyOrganization, NotificationTopic, OwnOrganization, Reason, enum_value
from kept.cli.invocation import Invocation, group, verb

if TYPE_CHECKING:
    from kept.settings.v1 import data_controls_pb2_grpc


def add_to(settings: typer.Typer) -> None:
    """Adds both groups."""
    addresses = group(settings, "addresses", "Whom the vendor writes to about an organization's data.")
    verb(addresses, "show")(show)
    verb(addresses, "set")(set_)
    opt_outs = group(
        settings,
        "opt-outs",
        "Training turned off by two of the vendor's people, where no admin can be reached. Needs the role compliance.",
    )
    verb(opt_outs, "request")(request)
    verb(opt_outs, "decide")(decide)
    verb(opt_outs, "list")(list_)


def _stub(call: Invocation) -> "data_controls_pb2_grpc.DataControlsServiceStub":
    from kept.settings.v1 import data_controls_pb2_grpc

    return data_controls_pb2_grpc.DataControlsServiceStub(call.channel("settings"))


def show(call: Invocation, organization: OwnOrganization = "") -> None:
    """The addresses by topic, and who is written to where there is none."""
    from kept.cli.output import plain, table
    from kept.settings.v1 import data_controls_pb2

    response = _stub(call).GetNotificationAddresses(
        data_controls_pb2.GetNotificationAddressesRequest(organization_id=call.own_organization(organization))
    )
    call.show(
        response,
        lambda: [
            table(response.addresses, ["topic", "email"], "There is no address."),
            plain(f"Otherwise: {', '.join(response.otherwise)}"),
            *(
                [plain(f"Their addresses: {', '.join(response.admin_emails)}")]
                if response.admin_emails
                else ()
            ),
        ],
    )


def set_(
    call: Invocation,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="TOPIC=EMAIL",
            help=f"Topics: {', '.join(NotificationTopic)}. Repeat it; what is not named goes.",
        ),
    ] = None,
    none: Annotated[
        bool, typer.Option("--none", help="Have no address; your admins are written to.")
    ] = False,
    etag: Annotated[
        str,
        typer.Option(
            "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
        ),
    ] = "",
    organization: OwnOrganization = "",
) -> None:
    """Replace all addresses by those named here. Only an admin of the organization can."""
    from kept.cli.output import table
    from kept.settings.v1 import data_controls_pb2

    if none == bool(to):
        raise typer.BadParameter("name the addresses with --to TOPIC=EMAIL, or say --none.")
    wanted = [_address(each) for each in to or ()]
    own, stub = call.own_organization(organization), _stub(call)
    if not etag:
        etag = stub.GetNotificationAddresses(
            data_controls_pb2.GetNotificationAddressesRequest(organization_id=own)
        ).etag
    response = stub.UpdateNotificationAddresses(
        data_controls_pb2.UpdateNotificationAddressesRequest(
            organization_id=own,
            etag=etag,
            addresses=[
                data_controls_pb2.NotificationAddress(
                    topic=enum_value(data_controls_pb2.NotificationTopic, "NOTIFICATION_TOPIC", topic),
                    email=email,
                )
                for topic, email in wanted
            ],
        )
    )
    call.show(response, lambda: table(response.addresses, ["topic", "email"], "There is no address."))


def _address(text: str) -> tuple[NotificationTopic, str]:
    topic, _, email = text.partition("=")
    if topic not in list(NotificationTopic) or not email:
        raise typer.BadParameter(f"{text!r} is no TOPIC=EMAIL; topics are {', '.join(NotificationTopic)}.")
    return NotificationTopic(topic), email


def request(
    call: Invocation,
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Organization id, org_….")],
    reason: Reason,
) -> None:
    """Begin to turn training off. Say who asked, and why no admin can be reached; another person decides."""
    from kept.cli.output import sheet
    from kept.settings.v1 import data_controls_pb2

    response = _stub(call).RequestAssistedOptOut(
        data_controls_pb2.RequestAssistedOptOutRequest(organization_id=organization, reason=reason)
    )
    call.show(response, lambda: sheet(response.opt_out))


def decide(
    call: Invocation,
    opt_out: Annotated[str, typer.Argument(metavar="OPT-OUT", help="Its id, optout_….")],
    approve: Annotated[
        bool, typer.Option("--approve/--deny", help="Another person than who began it approves.")
    ],
    reason: Reason,
) -> None:
    """Decide. Approved, training is off from the instant of acceptance on."""
    from kept.cli.output import sheet
    from kept.settings.v1 import data_controls_pb2

    response = _stub(call).DecideAssistedOptOut(
        data_controls_pb2.DecideAssistedOptOutRequest(
            assisted_opt_out_id=opt_out, approve=approve, reason=reason
        )
    )
    call.show(response, lambda: sheet(response))


def list_(call: Invocation, organization: AnyOrganization = "") -> None:
    """Assisted opt-outs.

    A customer's own; for compliance, all that wait for a decision.
    """
    from kept.cli.output import table
    from kept.settings.v1 import data_controls_pb2

    own = organization or str(call.session.claims().get("org", ""))
    response = _stub(call).ListAssistedOptOuts(
        data_controls_pb2.ListAssistedOptOutsRequest(organization_id=own)
    )
    columns = [
        ("opt-out", "assisted_opt_out_id"),
        "organization_id",
        "state",
        "requested_by",
        "requested_at",
        "decided_by",
        "decided_at",
        "reason",
    ]
    call.show(response, lambda: table(response.opt_outs, columns, "There is none."))

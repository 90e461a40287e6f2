"""`kept settings organizations` and `kept settings gateways`: customers, and who may record for them."""

from typing import Annotated

import typer

from kept.cli.arguments import Deployment, Limit, RequestId, Switch, Tier, enum_value
from kept.cli.invocation import Invocation, group, verb

_Gateway = Annotated[
    str, typer.Argument(metavar="NAME", help='The last part of its identity "spiffe://…/gateway/NAME".')
]


def add_to(settings: typer.Typer) -> None:
    """Adds both groups."""
    organizations = group(settings, "organizations", "Customers. Needs the operator's power.")
    verb(organizations, "create")(create)
    verb(organizations, "invite-admin")(invite_admin)
    verb(organizations, "list")(list_)
    verb(organizations, "show")(show)
    verb(organizations, "update")(update)
    verb(organizations, "history")(history)
    verb(organizations, "agreements")(agreements)
    gateways = group(settings, "gateways", "Which gateway may record for whom. Needs the operator's power.")
    verb(gateways, "register")(register)
    verb(gateways, "revoke")(revoke)
    verb(gateways, "list")(list_gateways)


def _say_terms(call: Invocation, tier: int) -> None:
    """A word on whose data fall under the general terms."""
    from kept.settings.v1 import organizations_pb2

    if tier == organizations_pb2.TIER_TRIAL:
        call.note("A trial: its data fall under the general terms, not under the enterprise commitments.")


def create(
    call: Invocation,
    name: Annotated[str, typer.Option("--name", help="Name as on the contract.")],
    admin_email: Annotated[
        str, typer.Option("--admin-email", metavar="EMAIL", help="Who is invited as first admin.")
    ],
    tier: Annotated[Tier, typer.Option("--tier", help="Trial: general terms apply.")] = Tier.PAYING,
    deployment: Annotated[
        Deployment, typer.Option("--deployment", help="Where the models run.")
    ] = Deployment.SAAS,
    training: Annotated[
        Switch, typer.Option("--training", help="Whether training on its data is allowed at first.")
    ] = Switch.OFF,
    sales_representative: Annotated[
        str, typer.Option("--sales-representative", metavar="EMAIL", help="Who is copied on requests.")
    ] = "",
    usage: Annotated[
        Switch, typer.Option("--usage", help="Whether its own deployment may send usage counts.")
    ] = Switch.OFF,
    request_id: RequestId = "",
) -> None:
    """Create an organization and invite its first admin.

    The answer holds the invitation token, this once: pass it to the admin, who registers with `kept settings members register`. Records
    are taken from the instant "effective at" on.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    response = stub.CreateOrganization(
        organizations_pb2.CreateOrganizationRequest(
            request_id=call.request_id(request_id),
            display_name=name,
            tier=enum_value(organizations_pb2.Tier, "TIER", tier),
            deployment=enum_value(organizations_pb2.Deployment, "DEPLOYMENT", deployment),
            admin_email=admin_email,
            sales_representative=sales_representative,
            training_allowed=training is Switch.ON,
            usage_agreed=usage is Switch.ON,
        )
    )
    call.show(response, lambda: sheet(response))
    _say_terms(call, response.organization.tier)


def invite_admin(
    call: Invocation,
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Organization id, org_….")],
    admin_email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who is invited as first admin.")],
) -> None:
    """Invite an admin into an organization that has none: its first invitation was lost or is over.

    The answer holds the invitation token, this once: pass it to the admin, who registers with `kept settings members register`. Earlier
    invitations of admins end.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    response = stub.InviteFirstAdmin(
        organizations_pb2.InviteFirstAdminRequest(organization_id=organization, admin_email=admin_email)
    )
    call.show(response, lambda: sheet(response))


def list_(call: Invocation, limit: Limit = 100) -> None:
    """All organizations, in order of creation."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    response = pages(stub.ListOrganizations, organizations_pb2.ListOrganizationsRequest(), limit)
    columns = [
        "organization_id",
        ("name", "display_name"),
        "tier",
        "deployment",
        "state",
        ("zdr", "zero_data_retention"),
        "created_at",
    ]
    call.show(response, lambda: table(response.organizations, columns, "There is no organization."))


def show(
    call: Invocation,
    organization: Annotated[
        str, typer.Argument(metavar="[ORG]", help="Organization id, org_…. A customer's own without it.")
    ] = "",
) -> None:
    """One organization."""
    from kept.cli.output import sheet
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    response = stub.GetOrganization(
        organizations_pb2.GetOrganizationRequest(organization_id=call.own_organization(organization))
    )
    call.show(response, lambda: sheet(response.organization))
    _say_terms(call, response.organization.tier)


def update(
    call: Invocation,
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Organization id, org_….")],
    tier: Annotated[
        Tier | None, typer.Option("--tier", help="Paying once a payment method is on file; else trial.")
    ] = None,
    deployment: Annotated[
        Deployment | None,
        typer.Option("--deployment", help="Where the models run; only while nothing can have been stored."),
    ] = None,
    usage: Annotated[
        Switch | None,
        typer.Option("--usage", help="Whether the agreement says that usage counts may be sent."),
    ] = None,
    training_days: Annotated[
        int | None,
        typer.Option(
            "--training-days",
            min=0,
            metavar="DAYS",
            help="How long training data may be kept, by the agreement; 0: it names no term.",
        ),
    ] = None,
    contract: Annotated[
        list[str] | None,
        typer.Option(
            "--contract", metavar="REFERENCE", help="Reference of a contract; all of them, repeated."
        ),
    ] = None,
    no_contract: Annotated[bool, typer.Option("--no-contract", help="Take all references out.")] = False,
    privacy_contact: Annotated[
        str | None, typer.Option("--privacy-contact", metavar="EMAIL", help="Whom to write to on privacy.")
    ] = None,
    support_contact: Annotated[
        str | None, typer.Option("--support-contact", metavar="EMAIL", help="Whom to write to on support.")
    ] = None,
    etag: Annotated[
        str,
        typer.Option(
            "--etag", help="Only if nothing changed since `show` gave this etag. The current one without it."
        ),
    ] = "",
) -> None:
    """Enter what is agreed with an organization. It counts everywhere from "effective at" on.

    What is not named stays. Tier, deployment and agreement have a history (see: kept settings organizations history).
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    if contract and no_contract:
        raise typer.BadParameter("give either --contract REFERENCE or --no-contract.")
    wanted = organizations_pb2.UpdateOrganizationRequest(
        organization_id=organization,
        usage_agreed=None if usage is None else usage is Switch.ON,
        tier=None if tier is None else enum_value(organizations_pb2.Tier, "TIER", tier),
        deployment=(
            None if deployment is None else enum_value(organizations_pb2.Deployment, "DEPLOYMENT", deployment)
        ),
        training_retention_days=training_days,
        contract_references=(
            organizations_pb2.ContractReferences(references=contract or ())
            if contract or no_contract
            else None
        ),
        privacy_contact=privacy_contact,
        support_contact=support_contact,
    )
    if wanted == organizations_pb2.UpdateOrganizationRequest(organization_id=organization):
        raise typer.BadParameter("say what to change, such as --tier paying; --help names all.")
    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    if not etag:
        found = stub.GetOrganization(organizations_pb2.GetOrganizationRequest(organization_id=organization))
        etag = found.organization.etag
    wanted.etag = etag
    response = stub.UpdateOrganization(wanted)
    call.show(response, lambda: sheet(response))
    _say_terms(call, response.organization.tier)


def history(
    call: Invocation,
    organization: Annotated[
        str, typer.Argument(metavar="[ORG]", help="Organization id, org_…. A customer's own without it.")
    ] = "",
    limit: Limit = 1000,
) -> None:
    """Tier, deployment and agreement: every change there ever was, oldest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    wanted = organizations_pb2.ListOrganizationChangesRequest(
        organization_id=call.own_organization(organization)
    )
    response = pages(stub.ListOrganizationChanges, wanted, limit)
    columns = [
        "effective_at",
        "tier",
        "deployment",
        ("usage", "usage_agreed"),
        ("training days", "training_retention_days"),
        ("contracts", "contract_references"),
        "entered_at",
        "entered_by",
    ]
    call.show(response, lambda: table(response.changes, columns, "Nothing was ever agreed."))


def agreements(
    call: Invocation,
    organization: Annotated[
        str, typer.Argument(metavar="[ORG]", help="Organization id, org_…. A customer's own without it.")
    ] = "",
    limit: Limit = 1000,
) -> None:
    """Whether usage counts may be sent: every change there ever was, oldest first."""
    from kept.cli.output import table
    from kept.client.reading import pages
    from kept.settings.v1 import organizations_pb2, organizations_pb2_grpc

    stub = organizations_pb2_grpc.OrganizationServiceStub(call.channel("settings"))
    wanted = organizations_pb2.ListUsageAgreementsRequest(organization_id=call.own_organization(organization))
    response = pages(stub.ListUsageAgreements, wanted, limit)
    columns = ["effective_at", ("usage", "usage_agreed"), "entered_at", "entered_by"]
    call.show(response, lambda: table(response.agreements, columns, "Nothing was ever agreed."))


def register(
    call: Invocation,
    name: _Gateway,
    organization: Annotated[
        list[str] | None,
        typer.Option(
            "--organization", "-o", metavar="ORG", help="May record for this one; repeat it for several."
        ),
    ] = None,
    all_organizations: Annotated[
        bool, typer.Option("--all-organizations", help="May record for every organization.")
    ] = False,
) -> None:
    """Register a gateway, or replace what it is registered for. It counts everywhere from "effective at" on."""
    from kept.cli.output import sheet
    from kept.settings.v1 import gateways_pb2, gateways_pb2_grpc

    if all_organizations == bool(organization):
        raise typer.BadParameter("say for whom: --organization ORG (repeatable), or --all-organizations.")
    stub = gateways_pb2_grpc.GatewayServiceStub(call.channel("settings"))
    response = stub.RegisterGateway(
        gateways_pb2.RegisterGatewayRequest(
            name=name,
            all_organizations=all_organizations,
            organization_ids=list(dict.fromkeys(organization or ())),
        )
    )
    call.show(response, lambda: sheet(response.gateway))


def revoke(call: Invocation, name: _Gateway) -> None:
    """End a gateway's registration.

    From "effective at" on it is refused everywhere.
    """
    from kept.cli.output import sheet
    from kept.settings.v1 import gateways_pb2, gateways_pb2_grpc

    stub = gateways_pb2_grpc.GatewayServiceStub(call.channel("settings"))
    response = stub.RevokeGateway(gateways_pb2.RevokeGatewayRequest(name=name))
    call.show(response, lambda: sheet(response))


def list_gateways(call: Invocation) -> None:
    """The registrations in force or about to be."""
    from kept.cli.output import table
    from kept.settings.v1 import gateways_pb2, gateways_pb2_grpc

    stub = gateways_pb2_grpc.GatewayServiceStub(call.channel("settings"))
    response = stub.ListGateways(gateways_pb2.ListGatewaysRequest())
    columns = ["name", "all_organizations", ("organizations", "organization_ids"), "effective_at"]
    call.show(response, lambda: table(response.gateways, columns, "No gateway is registered."))

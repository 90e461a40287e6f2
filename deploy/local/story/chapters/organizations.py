"""Chapter 1: staff get roles under powers that others approve; three customers come."""

import hashlib
import secrets
from datetime import datetime, timedelta
from functools import partial

from deploy.local.issuer.people import WORKFORCE
from deploy.local.story.plot import Customer, Plot
from deploy.local.story.stage import Actor
from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.settings.v1 import (
    gateways_pb2,
    gateways_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
    zero_data_retention_pb2,
    zero_data_retention_pb2_grpc,
)

_AGREEMENT = b"I keep what I see to myself, and I keep it safe."
_KINDS = (directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY, directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS)


def play(plot: Plot) -> None:
    """See the module."""
    _bootstrap(plot)
    pinned = plot.stage.kept("trust")
    plot.tell.require(
        "the keys that evidence is signed with are pinned: kept trust",
        pinned.returncode == 0,
        pinned.stderr[:300],
    )
    _staff(plot)
    effective = []
    olga = plot.stage.staff("olga")
    operating = olga.stub(organizations_pb2_grpc.OrganizationServiceStub)
    for which, name, deployment in (
        ("saas", "Aurora Analytics", organizations_pb2.DEPLOYMENT_SAAS),
        ("zdr", "Borealis Bank", organizations_pb2.DEPLOYMENT_SAAS),
        ("private", "Cumulus Clinic", organizations_pb2.DEPLOYMENT_PRIVATE),
    ):
        email = f"admin@{which}.example"
        created = operating.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=f"story-{which}-{secrets.token_hex(4)}",
                display_name=name,
                tier=organizations_pb2.TIER_PAYING,
                deployment=deployment,
                admin_email=email,
                sales_representative="sales@vendor.example" if which == "zdr" else "",
                training_allowed=True,
            )
        )
        effective.append(created.effective_at.ToDatetime(tzinfo=plot.stage.now().tzinfo))
        password = secrets.token_urlsafe(16)
        member = _register(plot.stage.public, created.invitation_token, "Alex", name.split()[0], password)
        plot.customers[which] = Customer(
            created.organization.organization_id, name, email, password, member.member_id
        )
    plot.tell.expect(
        "three organizations, each with an admin who registered herself", len(plot.customers) == 3
    )
    _member(plot)
    registered = olga.stub(gateways_pb2_grpc.GatewayServiceStub).RegisterGateway(
        gateways_pb2.RegisterGatewayRequest(name="demo", all_organizations=True)
    )
    effective.append(registered.gateway.effective_at.ToDatetime(tzinfo=plot.stage.now().tzinfo))
    effective.append(_zero_data_retention(plot))
    plot.stage.wait_until(max(effective) + timedelta(milliseconds=50))
    plot.tell.say(f"From {max(effective):%H:%M:%S.%f} on every process knows all of this.")


def _bootstrap(plot: Plot) -> None:
    names = {person.username: person for person in WORKFORCE}
    arguments = []
    for username in ("olga", "omar"):
        arguments += ["--person", f"{names[username].name} <{names[username].email}>", "--subject", username]
    plot.stage.stack.command("access_control", "bootstrap", *arguments)
    plot.tell.say("An empty installation gets its first two operators, once: Olga and Omar.")
    for username in ("olga", "omar"):
        me = (
            plot.stage.staff(username)
            .stub(directory_pb2_grpc.DirectoryServiceStub)
            .GetMe(directory_pb2.GetMeRequest())
        )
        plot.people[username] = me.person.person_id


def _staff(plot: Plot) -> None:
    directory = plot.stage.staff("olga").stub(directory_pb2_grpc.DirectoryServiceStub)
    probe = directory_pb2.CreatePersonRequest(
        display_name="Nobody", email="nobody@vendor.example", subject="nobody"
    )
    plot.tell.refused("a role alone opens nothing", lambda: directory.CreatePerson(probe), "POWER_REQUIRED")
    plot.power("olga", "omar", roles_pb2.POWER_ROLE_ASSIGNMENT, "first staff of the installation")
    plot.power("omar", "olga", roles_pb2.POWER_ROLE_ASSIGNMENT, "first staff of the installation")
    plot.power("olga", "omar", roles_pb2.POWER_OPERATOR, "first customers of the installation")
    confirming = plot.stage.staff("omar").stub(directory_pb2_grpc.DirectoryServiceStub)
    now = plot.stage.now()
    for person in WORKFORCE:
        if person.username in plot.people:
            continue
        made = directory.CreatePerson(
            directory_pb2.CreatePersonRequest(
                display_name=person.name, email=person.email, subject=person.username
            )
        ).person
        plot.people[person.username] = made.person_id
        for duty in person.duties:
            role = roles_pb2.StaffRole.Value(f"STAFF_ROLE_{duty.upper()}")
            proposed = directory.AssignRole(
                directory_pb2.AssignRoleRequest(person_id=made.person_id, role=role)
            ).role_assignment
            confirmation = directory_pb2.ConfirmRoleRequest(role_assignment_id=proposed.role_assignment_id)
            if person.username == "emma":
                plot.tell.refused(
                    "who proposes a role does not confirm it",
                    partial(directory.ConfirmRole, confirmation),
                    "SECOND_PERSON_REQUIRED",
                )
            confirming.ConfirmRole(confirmation)
        agreement = directory_pb2.RecordAgreementRequest(
            person_id=made.person_id,
            kinds=_KINDS,
            document_sha256=hashlib.sha256(_AGREEMENT).digest(),
        )
        agreement.signed_at.FromDatetime(now)
        agreement.expires_at.FromDatetime(now + timedelta(days=365))
        directory.RecordAgreement(agreement)
    listed = directory.ListPeople(directory_pb2.ListPeopleRequest()).people
    plot.tell.expect(
        f"{len(WORKFORCE)} people with a confirmed role and a signed agreement",
        len(listed) == len(WORKFORCE)
        and all(person.agreement_until.seconds and person.roles[0].confirmed_by for person in listed),
        f"{len(listed)} listed",
    )


def _register(who: Actor, token: str, first: str, last: str, password: str) -> members_pb2.Member:
    return (
        who.stub(members_pb2_grpc.MemberServiceStub)
        .RegisterMember(
            members_pb2.RegisterMemberRequest(
                invitation_token=token, first_name=first, last_name=last, password=password
            )
        )
        .member
    )


def _member(plot: Plot) -> None:
    customer = plot.customers["saas"]
    customer.member_email, customer.member_password = "member@saas.example", secrets.token_urlsafe(16)
    invited = (
        plot.admin("saas")
        .stub(members_pb2_grpc.MemberServiceStub)
        .InviteMember(
            members_pb2.InviteMemberRequest(
                organization_id=customer.organization_id,
                email=customer.member_email,
                role=roles_pb2.CUSTOMER_ROLE_MEMBER,
            )
        )
    )
    _register(plot.stage.public, invited.invitation_token, "Mia", "Member", customer.member_password)
    plot.tell.refused(
        "an invitation works once",
        lambda: _register(
            plot.stage.public, invited.invitation_token, "Eve", "Elsewhere", customer.member_password
        ),
        "INVITATION_INVALID",
    )


def _zero_data_retention(plot: Plot) -> datetime:
    customer = plot.customers["zdr"]
    asking = plot.admin("zdr").stub(zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub)
    current = asking.GetAdditionalCommitments(zero_data_retention_pb2.GetAdditionalCommitmentsRequest())
    names = [commitment.name for commitment in current.commitments]

    def request(
        organization_id: str, accepted: list[str]
    ) -> zero_data_retention_pb2.RequestZeroDataRetentionRequest:
        return zero_data_retention_pb2.RequestZeroDataRetentionRequest(
            organization_id=organization_id,
            commitments_version=current.version,
            accepted_commitments=accepted,
        )

    private = plot.customers["private"].organization_id
    elsewhere = plot.admin("private").stub(zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub)
    plot.tell.refused(
        "a private deployment needs no zero data retention",
        lambda: elsewhere.RequestZeroDataRetention(request(private, names)),
        "NOT_ELIGIBLE",
    )
    plot.tell.refused(
        "not every additional commitment accepted",
        lambda: asking.RequestZeroDataRetention(request(customer.organization_id, names[:-1])),
        "COMMITMENTS_NOT_ACCEPTED",
    )
    asked = asking.RequestZeroDataRetention(request(customer.organization_id, names)).request
    decision = zero_data_retention_pb2.DecideZeroDataRetentionRequest(
        zero_data_retention_request_id=asked.zero_data_retention_request_id,
        approve=True,
        reason="commitments accepted, no history of misuse",
    )
    carla = plot.stage.staff("carla").stub(zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub)
    carla.DecideZeroDataRetention(decision)
    plot.tell.refused(
        "one person does not approve twice",
        lambda: carla.DecideZeroDataRetention(decision),
        "SECOND_PERSON_REQUIRED",
    )
    chen = plot.stage.staff("chen").stub(zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub)
    decided = chen.DecideZeroDataRetention(decision).request
    plot.tell.require(
        f"{customer.name} gets zero data retention: {len(names)} commitments accepted, two people approved",
        decided.state == zero_data_retention_pb2.ZERO_DATA_RETENTION_STATE_APPROVED
        and len(decided.approved_by) == 2,
    )
    return decided.effective_at.ToDatetime(tzinfo=plot.stage.now().tzinfo)

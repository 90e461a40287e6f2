"""How a history begins: staff with their roles and agreements, a gateway, customers. Nothing goes wrong meanwhile."""

import hashlib
from datetime import timedelta

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.settings.v1 import (
    gateways_pb2,
    gateways_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
)
from shared.ids import new_id
from tests.simulation.model import Organization
from tests.simulation.scene import Scene, stamp

_STAFF = {
    "emma": (roles_pb2.STAFF_ROLE_ENGINEER, roles_pb2.STAFF_ROLE_ON_CALL),
    "elias": (roles_pb2.STAFF_ROLE_ENGINEER,),
    "lena": (roles_pb2.STAFF_ROLE_LEGAL,),
    "luca": (roles_pb2.STAFF_ROLE_LEGAL,),
    "carla": (roles_pb2.STAFF_ROLE_COMPLIANCE, roles_pb2.STAFF_ROLE_SAFETY),
    "chen": (roles_pb2.STAFF_ROLE_COMPLIANCE, roles_pb2.STAFF_ROLE_SAFETY),
    "sara": (roles_pb2.STAFF_ROLE_SAFETY,),
    "samir": (roles_pb2.STAFF_ROLE_SAFETY,),
}
_KINDS = (directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY, directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS)


def begin(scene: Scene) -> None:
    """Everybody who is there on the first day."""
    scene.world.bootstrap()
    scene.world.leases()
    scene.power("olga", "omar", roles_pb2.POWER_ROLE_ASSIGNMENT)
    scene.power("omar", "olga", roles_pb2.POWER_ROLE_ASSIGNMENT)
    scene.power("olga", "omar", roles_pb2.POWER_OPERATOR)
    for name, roles in _STAFF.items():
        _hire(scene, name, *roles)
    gateways = gateways_pb2_grpc.GatewayServiceStub(scene.world.person("olga")("settings"))
    gateways.RegisterGateway(gateways_pb2.RegisterGatewayRequest(name="sim", all_organizations=True))
    for deployment in ("SAAS", "SAAS", "PRIVATE"):
        join(scene, deployment)
    scene.world.settle()


def _hire(scene: Scene, name: str, *roles: "roles_pb2.StaffRole.ValueType") -> None:
    directory = directory_pb2_grpc.DirectoryServiceStub(scene.world.person("olga")("access_control"))
    confirming = directory_pb2_grpc.DirectoryServiceStub(scene.world.person("omar")("access_control"))
    person = directory.CreatePerson(
        directory_pb2.CreatePersonRequest(
            display_name=name.title(), email=f"{name}@vendor.example", subject=name
        )
    ).person
    for role in roles:
        proposed = directory.AssignRole(
            directory_pb2.AssignRoleRequest(person_id=person.person_id, role=role)
        )
        confirming.ConfirmRole(
            directory_pb2.ConfirmRoleRequest(role_assignment_id=proposed.role_assignment.role_assignment_id)
        )
    directory.RecordAgreement(
        directory_pb2.RecordAgreementRequest(
            person_id=person.person_id,
            kinds=_KINDS,
            document_sha256=hashlib.sha256(b"agreement").digest(),
            signed_at=stamp(scene.now),
            expires_at=stamp(scene.now + timedelta(days=365)),
        )
    )


def join(scene: Scene, deployment: str) -> None:
    """A customer comes, with its admin. deployment: "SAAS" or "PRIVATE"."""
    scene.power("olga", "omar", roles_pb2.POWER_OPERATOR)
    created = organizations_pb2_grpc.OrganizationServiceStub(
        scene.world.person("olga")("settings")
    ).CreateOrganization(
        organizations_pb2.CreateOrganizationRequest(
            request_id=new_id("request"),
            display_name=f"Customer {len(scene.model.organizations)}",
            tier=organizations_pb2.TIER_PAYING,
            deployment=organizations_pb2.Deployment.Value(f"DEPLOYMENT_{deployment}"),
            admin_email=f"{new_id('mail')}@example.org",
            training_allowed=True,
        )
    )
    member = members_pb2_grpc.MemberServiceStub(scene.world.public("settings")).RegisterMember(
        members_pb2.RegisterMemberRequest(
            invitation_token=created.invitation_token,
            first_name="Alex",
            last_name="Admin",
            password="a long enough passphrase",
        )
    )
    organization_id = created.organization.organization_id
    scene.model.organizations[organization_id] = Organization(
        organization_id, deployment, member.member.member_id
    )

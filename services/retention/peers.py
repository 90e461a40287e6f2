"""The other services as retention calls them. Every call is idempotent at its receiver and fails with KeptError."""

from dataclasses import dataclass

from kept.access_control.v1 import audit_pb2_grpc, authz_pb2_grpc, keys_pb2_grpc
from kept.access_control.v1 import lifecycle_pb2_grpc as access_control_lifecycle
from kept.logging.v1 import lifecycle_pb2_grpc as logging_lifecycle
from kept.safety_review.v1 import lifecycle_pb2_grpc as safety_review_lifecycle
from kept.settings.v1 import lifecycle_pb2_grpc as settings_lifecycle
from shared.organizations import require_by
from shared.service import Connect


@dataclass(frozen=True)
class Peers:
    """One stub for each contract that retention uses."""

    settings: settings_lifecycle.LifecycleServiceStub
    logging: logging_lifecycle.LifecycleServiceStub
    safety_review: safety_review_lifecycle.LifecycleServiceStub
    access_control: access_control_lifecycle.LifecycleServiceStub
    keys: keys_pb2_grpc.KeyServiceStub
    audit: audit_pb2_grpc.AuditServiceStub
    authz: authz_pb2_grpc.AuthzServiceStub

    def require_organization(self, organization_id: str) -> None:
        """Raises UNKNOWN_ORGANIZATION, and what access control answers with where it cannot say. Ask before anything is written down that
        somebody wants for an organization."""
        require_by(self.authz)(organization_id)


def reach(connect: Connect) -> Peers:
    """The stubs on this process's channels."""
    access_control = connect("access_control")
    return Peers(
        settings=settings_lifecycle.LifecycleServiceStub(connect("settings")),
        logging=logging_lifecycle.LifecycleServiceStub(connect("logging")),
        safety_review=safety_review_lifecycle.LifecycleServiceStub(connect("safety_review")),
        access_control=access_control_lifecycle.LifecycleServiceStub(access_control),
        keys=keys_pb2_grpc.KeyServiceStub(access_control),
        audit=audit_pb2_grpc.AuditServiceStub(access_control),
        authz=authz_pb2_grpc.AuthzServiceStub(access_control),
    )

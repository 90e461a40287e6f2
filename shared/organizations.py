"""Whether there is an organization: what is asked before something is written down for one that somebody named.

Retention and safety review know no organizations; access control follows settings' policies and does. Where it cannot be asked, or cannot
say for sure, the call fails with what it answered, and nothing is written.
"""

from collections.abc import Callable

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc

# Raises UNKNOWN_ORGANIZATION; LEASE_LAPSED, PEER_UNAVAILABLE where that is not known for sure.
RequireOrganization = Callable[[str], None]


def require_by(authz: authz_pb2_grpc.AuthzServiceStub) -> RequireOrganization:
    """The question, as access control answers it. Idempotent; no transaction is to be open while it is asked."""

    def require(organization_id: str) -> None:
        authz.RequireOrganization(authz_pb2.RequireOrganizationRequest(organization_id=organization_id))

    return require

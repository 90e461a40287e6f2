"""Calls through the two doors of each service: what a peer asks by mTLS, and what an operator asks with a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from kept.client.errors import from_rpc_error
from shared.channels import server_name

OK: Final = "OK"
# Asked with an empty request; what the answer has to be says that caller and input were looked at, by access control where a role counts.
# service → (method, reason)
PEOPLE: Final = {
    # A power is a grant that somebody else approved; these operators have none.
    "settings": ("/kept.settings.v1.GatewayService/ListGateways", "POWER_REQUIRED"),
    "access_control": ("/kept.access_control.v1.DirectoryService/GetMe", OK),
    "logging": ("/kept.logging.v1.UsageService/QueryUsage", "POWER_REQUIRED"),
    "retention": ("/kept.retention.v1.RunService/ListRuns", OK),
    # No operator may see what detectors look for.
    "safety_review": ("/kept.safety_review.v1.DetectorService/ListRules", "NOT_AUTHORIZED"),
}
# service → (who calls, method, reason)
SERVICES: Final = {
    "settings": ("logging", "/kept.settings.v1.PolicyService/ListPolicyChanges", OK),
    "access_control": (
        "retention",
        "/kept.access_control.v1.KeyService/ListDestroyedEpochs",
        "INVALID_ARGUMENT",
    ),
    "logging": ("retention", "/kept.logging.v1.LifecycleService/ListStoredDays", "INVALID_ARGUMENT"),
    "retention": ("logging", "/kept.retention.v1.RuleService/ListRuleChanges", OK),
    "safety_review": ("logging", "/kept.safety_review.v1.ScreeningService/Screen", "INVALID_ARGUMENT"),
}


def door(address: str, name: str, identity: Mapping[str, bytes]) -> grpc.Channel:
    """A channel to a service's door, whose certificate must be good for `name`. identity: `ca.crt`, and for the door of services also
    `tls.crt` and `tls.key`."""
    credentials = grpc.ssl_channel_credentials(
        identity["ca.crt"], identity.get("tls.key"), identity.get("tls.crt")
    )
    return grpc.secure_channel(address, credentials, options=(("grpc.ssl_target_name_override", name),))


def ask(
    address: str, service: str, domain: str, identity: Mapping[str, bytes], method: str, token: str = ""
) -> str:
    """The reason that an empty request is answered with, or OK; the rest as for `door`."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with door(address, server_name(service, domain), identity) as channel:
        call = channel.unary_unary(method, lambda data: data, lambda data: data)
        try:
            call(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return from_rpc_error(error, service).reason
    return OK

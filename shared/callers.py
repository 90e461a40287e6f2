"""Who may call what, and with how much: read from the contracts, enforced in one place. What declares nothing is refused to everyone.

Methods that are not ours carry no option of ours; `_FOREIGN` is their one table.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool

from kept.access_control.v1 import authz_pb2, authz_pb2_grpc
from kept.options.v1 import callers_pb2, roles_pb2
from shared.errors import KeptError, Reason
from shared.identity import Caller, CallerKind, RefusedToken

_FOREIGN: Final[Mapping[str, callers_pb2.Callers]] = {
    # Health says nothing but whether this server serves; probes and balancers bring no identity.
    "/grpc.health.v1.Health/Check": callers_pb2.Callers(public=True, services=["*"]),
    "/grpc.health.v1.Health/Watch": callers_pb2.Callers(public=True, services=["*"]),
    # Reflection shows the contracts, which are public.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": callers_pb2.Callers(
        public=True, services=["*"]
    ),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": callers_pb2.Callers(
        public=True, services=["*"]
    ),
    # OTLP, which logging takes from whoever is registered as a gateway: a model gateway, or an OpenTelemetry Collector.
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": callers_pb2.Callers(gateways=True),
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": callers_pb2.Callers(gateways=True),
}
_NOBODY: Final = callers_pb2.Callers()
_cache: dict[str, callers_pb2.Callers] = {}


def declared(method: str) -> callers_pb2.Callers:
    """The declared callers of a method by its full name ("/package.Service/Method"); none for an unknown or undeclared one."""
    found = _cache.get(method)
    if found is None:
        found = _FOREIGN.get(method) or _from_contract(method)
        if found != _NOBODY:  # of names that are no method's there is no end
            _cache[method] = found
    return found


def is_declared(method: str) -> bool:
    """Whether there is a method of this name that somebody may call."""
    return declared(method) != _NOBODY


def _from_contract(method: str) -> callers_pb2.Callers:
    options = _options(method)
    if options is None or not options.HasExtension(callers_pb2.callers):
        return _NOBODY
    return options.Extensions[callers_pb2.callers]


@cache
def largest_request(method: str) -> int | None:
    """How many bytes the contract of a method that is served allows a message of a request to have; None for what the transport takes."""
    options = _options(method)
    return None if options is None else options.Extensions[callers_pb2.max_request_bytes] or None


def _options(method: str) -> descriptor_pb2.MethodOptions | None:
    try:
        return descriptor_pool.Default().FindMethodByName(method.lstrip("/").replace("/", ".")).GetOptions()
    except KeyError:
        return None


def not_allowed(method: str) -> KeptError:
    """The method's declared callers do not include this one."""
    return KeptError(
        Reason.REASON_CALLER_NOT_ALLOWED,
        "This method is not for this kind of caller.",
        metadata={"method": method},
    )


def require_kind(caller: Caller, method: str) -> None:
    """Raises CALLER_NOT_ALLOWED, or UNAUTHENTICATED where saying who one is might help, unless this kind of caller is declared at
    all. Which people and gateways is the authority's to decide after it."""
    allowed = declared(method)
    match caller.kind:
        case CallerKind.SERVICE:
            if caller.name in allowed.services or "*" in allowed.services:
                return
        case CallerKind.GATEWAY:
            if allowed.gateways or "*" in allowed.services:
                return
        case CallerKind.STAFF:
            if allowed.roles or allowed.any_staff or allowed.public:
                return
        case CallerKind.CUSTOMER:
            if allowed.customers or allowed.public:
                return
        case CallerKind.PUBLIC:
            if allowed.public:
                return
            if allowed.roles or allowed.any_staff or allowed.customers:
                raise KeptError(Reason.REASON_UNAUTHENTICATED, "Sign in: this method is not public.")
    raise not_allowed(method)


def is_public(method: str) -> bool:
    """Whether nobody has to say who they are."""
    return declared(method).public


class RemoteAuthority:
    """Decides on people by asking access control, which writes the decision down. Gateways have no business here."""

    def __init__(self, authz: authz_pb2_grpc.AuthzServiceStub) -> None:
        self._authz = authz

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        """See shared.service.CallerAuthority."""
        decision = self._authz.Check(authz_pb2.CheckRequest(token=caller.token.reveal(), method=method))
        return replace(
            caller,
            person_id=decision.person_id,
            roles=frozenset(decision.roles),
            member_id=decision.member_id,
            organization_id=decision.organization_id,
            customer_role=decision.customer_role or roles_pb2.CUSTOMER_ROLE_UNSPECIFIED,
            affiliations=frozenset(decision.affiliated_organization_ids),
        )

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        """See shared.service.CallerAuthority."""
        raise not_allowed(method)

    def refused(self, caller: Caller, method: str, error: KeptError) -> None:
        """Has access control write down whose token was of no use here: shown to it, it is of none either. See shared.service.Service."""
        if isinstance(error, RefusedToken):
            with suppress(KeptError):
                self._authz.Check(authz_pb2.CheckRequest(token=caller.token.reveal(), method=method))

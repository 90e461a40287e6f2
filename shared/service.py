"""What a service is made of, apart from the process that runs it.

A service's `wiring.wire(config, clock, database, connect)` builds one of these. The server runs it behind two ports; the simulation
runs it in process, with a clock, a database and channels of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from shared.errors import KeptError
from shared.identity import Caller
from shared.jobs import Job

# Gives the channel to another service's mTLS port, by the service's name.
Connect = Callable[[str], grpc.Channel]


class Registrar(Protocol):
    """What generated `add_…Servicer_to_server` functions register with: a gRPC server, or an in-process one."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None: ...

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None: ...


class CallerAuthority(Protocol):
    """Who decides what callers may do, beyond what their certificate or token proves."""

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        """The caller with person or member id, roles and organization filled in. Raises KeptError: NOT_AUTHORIZED,
        CALLER_NOT_ALLOWED, POWER_REQUIRED, ADMIN_REQUIRED, UNAUTHENTICATED, PEER_UNAVAILABLE."""

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        """The caller, if it is registered as a model gateway now. Raises GATEWAY_NOT_REGISTERED or LEASE_LAPSED."""


Refused = Callable[[Caller, str, KeptError], None]


class Gate(Protocol):
    """Whether anybody may be answered at all."""

    def require(self) -> None:
        """Raises a KeptError while nobody may."""

    def is_open(self) -> bool:
        """Whether everybody may, without an attempt at it."""


@dataclass(frozen=True)
class Service:
    """register: adds every servicer to a server. jobs: work it does by itself. authority: decides on people and gateways.

    leases: each raises LEASE_LAPSED unless what is leased from a peer is known now. Shown to operators, and no condition of readiness:
    what needs a lapsed lease refuses by itself, and a peer's outage must not take this service away. parts: whether something else of it
    is well, by the name that health has for it; shown to operators in the same way. refused: told of a person, a method and what was wrong
    with the request, or with a token that was signed for them (RefusedToken), before the person is. gate: what nobody is answered
    before, whoever asks. A replica whose gate is closed is not ready: in a rollout the ones before it go on until it is open.
    """

    register: Callable[[Registrar], None]
    jobs: Sequence[Job]
    authority: CallerAuthority
    leases: Sequence[Callable[[], None]] = field(default_factory=tuple)
    parts: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    refused: Refused | None = None
    gate: Gate | None = None

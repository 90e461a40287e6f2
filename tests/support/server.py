"""A real server on this project's builder, with one small service behind it, for tests of the builder itself and for its bench."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health

from deploy.local.authority import Authority
from kept.options.v1 import roles_pb2
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from shared.call_threads import StreamPool
from shared.callers import not_allowed
from shared.channels import Channels
from shared.config import ServiceConfig, Tls
from shared.errors import KeptError, Reason
from shared.identity import Caller, CertificateIdentity
from shared.pipeline import Identify
from shared.server import build
from shared.service import Service
from shared.silence import LONGEST_SILENCE

TRUST_DOMAIN = "test.local"


class StaffByName:
    """Says that every person is staff with the safety role, unless the subject is "nobody"."""

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        if caller.subject == "nobody":
            raise KeptError(Reason.REASON_NOT_AUTHORIZED, "You hold none of the roles.")
        return replace(caller, person_id="person_" + "0" * 26, roles=frozenset({roles_pb2.STAFF_ROLE_SAFETY}))

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)


class Rules(detectors_pb2_grpc.DetectorServiceServicer):
    """Answers with whatever the test says."""

    def __init__(self, answer: Callable[[Any], detectors_pb2.ListRulesResponse]) -> None:
        self._answer = answer

    def ListRules(self, request: Any, context: Any) -> detectors_pb2.ListRulesResponse:
        return self._answer(context)


@dataclass
class Running:
    """A server that runs, and what is needed to call it."""

    address: str
    authority: Authority
    config: ServiceConfig
    statuses: health.HealthServicer
    server: grpc.Server

    def channels(self, name: str) -> Channels:
        """The channels of another service of this name."""
        identity = self.authority.issue(name, serves=False)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        return Channels(tls, {"safety_review": self.address, "logging": self.address}, TRUST_DOMAIN)


@contextmanager
def running(
    directory: Path,
    answer: Callable[[Any], detectors_pb2.ListRulesResponse],
    *,
    port: int,
    identify: Identify | None = None,
    client_certificates: bool | None = None,
    worker_threads: int = 4,
    longest_silence: timedelta = LONGEST_SILENCE,
) -> Iterator[Running]:
    """A server on a loopback port, stopped at the end. Without `identify` it asks for certificates, and they name the caller."""
    certificates = Authority(directory, trust_domain=TRUST_DOMAIN, environment="local")
    identity = certificates.issue("safety_review", serves=True)
    address = f"127.0.0.1:{port}"
    config = ServiceConfig(
        environment="local",
        trust_domain=TRUST_DOMAIN,
        services_address=address,
        people_address=address,
        health_address=address,
        metrics_address=address,
        database_url="postgresql+psycopg://nobody:nothing@127.0.0.1:1/none",  # type: ignore[arg-type]
        tls=Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority),
        audience="kept:safety_review",
        worker_threads=worker_threads,
        stream_threads=4,
    )
    service = Service(
        register=lambda registrar: detectors_pb2_grpc.add_DetectorServiceServicer_to_server(
            Rules(answer),  # type: ignore[abstract]
            registrar,  # type: ignore[arg-type] # the generated function takes anything with these two methods
        ),
        jobs=[],
        authority=StaffByName(),
    )
    statuses = health.HealthServicer()
    server = build(
        config,
        service,
        statuses,
        identify or CertificateIdentity(TRUST_DOMAIN).identify,
        StreamPool(config.stream_threads),
        address,
        client_certificates=identify is None if client_certificates is None else client_certificates,
        longest_silence=longest_silence,
    )
    server.start()
    try:
        yield Running(address, certificates, config, statuses, server)
    finally:
        server.stop(1).wait()

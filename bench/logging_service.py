"""Logging as it runs, beside access control: processes of their own, over mTLS, each on an embedded PostgreSQL of its own with durable
commits. Settings and retention are played (bench.leases), safety review finds everything clean (bench.screening_server)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import grpc

from bench.access_control import Running, process, running, wait_until
from bench.leases import GATEWAY, leases_on
from deploy.local import health
from deploy.local.authority import Authority, Identity
from deploy.local.configuration import Section, toml
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.logging.v1 import interactions_pb2
from shared.channels import MAX_MESSAGE_BYTES, client_credentials
from shared.config import Tls
from shared.ids import new_id, new_record_id
from tests.support.server import TRUST_DOMAIN

# What a small exchange with a model is long.
CONTENT_BYTES = 1_500


@dataclass(frozen=True)
class Logging:
    """Where logging is. address: for gateways and services. gateway: the identity of one that may record. postgres: logging's own."""

    address: str
    organization_id: str
    gateway: Identity
    access_control: Running
    postgres: Postgres

    def channel(self) -> grpc.Channel:
        """A gateway's channel."""
        tls = _tls(self.gateway)
        options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
        return grpc.secure_channel(self.address, client_credentials(tls), options=options)

    def interaction(self, now: datetime, size: int = CONTENT_BYTES) -> interactions_pb2.Interaction:
        """An interaction of this moment, with content of so many bytes."""
        said = "The answer to everything, said once more. " * (size // 84)
        content = interactions_pb2.InteractionContent()
        for messages, role in (
            (content.prompt, interactions_pb2.MESSAGE_ROLE_USER),
            (content.generations, interactions_pb2.MESSAGE_ROLE_ASSISTANT),
        ):
            messages.add(role=role).parts.add(text=said)
        return interactions_pb2.Interaction(
            record_id=new_record_id(now),
            organization_id=self.organization_id,
            application="bench",
            model="model-1",
            end_user="user-1",
            content=content,
            prompt_tokens=180,
            generation_tokens=180,
            finish_reason="stop",
        )


@contextmanager
def logging_running() -> Iterator[Logging]:
    """Everything, stopped at the end."""
    organization_id = new_id("org")
    with ExitStack() as stack:
        access_control = stack.enter_context(running(people=1, leases=leases_on(organization_id)))
        home = access_control.home / "logging"
        home.mkdir()
        ports = free_ports(6)
        address, people_address, health_address, metrics = (f"127.0.0.1:{port}" for port in ports[:4])
        postgres = Postgres(home / "data", port=ports[4], password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        authority_home = access_control.home / "authority"
        authority = Authority(authority_home, trust_domain=TRUST_DOMAIN, environment="local")
        screening = stack.enter_context(
            process("bench.screening_server", str(authority_home), str(ports[5]), log=home / "screening.log")
        )
        assert screening.stdout is not None
        if screening.stdout.readline() != b"serving\n":
            raise RuntimeError((home / "screening.log").read_text()[-2000:])
        peers = {name: access_control.peers[name] for name in ("settings", "retention")} | {
            "access_control": access_control.address,
            "safety_review": f"127.0.0.1:{ports[5]}",
        }
        config = home / "logging.toml"
        settings: Section = {
            "environment": "local",
            "trust_domain": TRUST_DOMAIN,
            "services_address": address,
            "people_address": people_address,
            "health_address": health_address,
            "metrics_address": metrics,
            "database_url": postgres.ensure_database("logging", "bench"),
            "migrate_at_start": True,
            "audience": "kept:logging",
            "log_level": "error",
        }
        tls = _tls(authority.issue("logging", serves=True))
        tables = {"tls": {name: str(path) for name, path in tls.model_dump().items()}, "peers": peers}
        issuers: list[Section] = [
            {"kind": kind, "issuer": access_control.issuer(kind), "jwks_url": access_control.issuer(kind)}
            for kind in ("workforce", "customer")
        ]
        config.write_text(toml(settings, tables, {"issuers": issuers}))
        log = home / "service.log"
        stack.enter_context(process("services.logging", "--config", str(config), log=log))
        wait_until(lambda: health.serves(health_address), log)
        yield Logging(
            address,
            organization_id,
            authority.issue(f"gateway/{GATEWAY}", serves=False),
            access_control,
            postgres,
        )


def _tls(identity: Identity) -> Tls:
    return Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)

"""Logging as it runs, beside access control: processes of their own, over mTLS, each on an embedded PostgreSQL of its own with durable
commits. Settings and retention are played (bench.leases), safety review finds everything clean (bench.screening_server)."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc

from bench.access_control import Leases, Running, process, running, wait_until
from bench.leases import GATEWAY, leases_on
from bench.safety_review import reviewing
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
_WAIT = 0.02
_PATIENCE = 300.0
_WAITING = "SELECT EXISTS (SELECT FROM unscreened) OR EXISTS (SELECT FROM unscreened_batches)"
_PROSE = "".join(
    page.read_text(encoding="utf-8") for page in sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
)


@dataclass(frozen=True)
class Logging:
    """Where logging is. addresses, pids: of its processes; the former for gateways and services. gateway: the identity of one that may
    record. postgres: logging's own; database_url: in it. screening_pid: the process that screens."""

    addresses: Sequence[str]
    pids: Sequence[int]
    organization_id: str
    gateway: Identity
    access_control: Running
    postgres: Postgres
    database_url: str
    screening_pid: int

    def channel(self, process: int = 0) -> grpc.Channel:
        """A gateway's channel to one of the processes."""
        tls = _tls(self.gateway)
        options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
        return grpc.secure_channel(self.addresses[process], client_credentials(tls), options=options)

    def interaction(self, now: datetime, size: int = CONTENT_BYTES) -> interactions_pb2.Interaction:
        """An interaction of this moment, with content of so many bytes: this project's own prose, another part of it each time, for what
        is said over and over is sealed and stored for nothing."""
        content = interactions_pb2.InteractionContent()
        for messages, role in (
            (content.prompt, interactions_pb2.MESSAGE_ROLE_USER),
            (content.generations, interactions_pb2.MESSAGE_ROLE_ASSISTANT),
        ):
            start = secrets.randbelow(len(_PROSE) - size)
            messages.add(role=role).parts.add(text=_PROSE[start : start + size // 2])
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
def screening_stopped(there: Logging) -> Iterator[Callable[[], None]]:
    """Nothing is screened in the block, for the process that screens is stopped. What is yielded lets it work off what waits."""

    def catch_up() -> None:
        os.kill(there.screening_pid, signal.SIGCONT)
        wait_for_screening(there)
        os.kill(there.screening_pid, signal.SIGSTOP)

    os.kill(there.screening_pid, signal.SIGSTOP)
    try:
        yield catch_up
    finally:
        os.kill(there.screening_pid, signal.SIGCONT)


def wait_for_screening(there: Logging) -> None:
    """Until what was recorded is screened. Raises RuntimeError when it is not within five minutes."""
    until = time.monotonic() + _PATIENCE
    with there.postgres.administration("logging") as connection:
        while connection.execute(_WAITING).fetchone() == (True,):
            if time.monotonic() > until:
                raise RuntimeError("what was recorded is not screened")
            time.sleep(_WAIT)


@contextmanager
def logging_running(
    processes: int = 1,
    leases: Leases | None = None,
    settings_of: Callable[[int], str] | None = None,
    reviewed: bool = False,
) -> Iterator[Logging]:
    """Everything, stopped at the end. processes: of logging, on one database. leases: who plays settings and retention, if others than
    bench.leases do. settings_of: the address of settings that each process of logging asks, if they ask different ones.
    reviewed: safety review itself screens, with 500 rules, instead of what finds everything clean."""
    organization_id = new_id("org")
    with ExitStack() as stack:
        access_control = stack.enter_context(running(people=1, leases=leases or leases_on(organization_id)))
        home = access_control.home / "logging"
        home.mkdir()
        postgres_port, screening_port = free_ports(2)
        postgres = Postgres(home / "data", port=postgres_port, password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        authority_home = access_control.home / "authority"
        authority = Authority(authority_home, trust_domain=TRUST_DOMAIN, environment="local")
        if reviewed:
            asked_of_review = {
                "access_control": access_control.address,
                "retention": access_control.peers["retention"],
            }
            (review,) = stack.enter_context(reviewing(home / "review", authority, asked_of_review))
            screening_address, screening_pid = review.address, review.pid
        else:
            screening = stack.enter_context(
                process(
                    "bench.screening_server",
                    str(authority_home),
                    str(screening_port),
                    log=home / "screening.log",
                )
            )
            assert screening.stdout is not None
            if screening.stdout.readline() != b"serving\n":
                raise RuntimeError((home / "screening.log").read_text()[-2000:])
            screening_address, screening_pid = f"127.0.0.1:{screening_port}", screening.pid
        peers = {name: access_control.peers[name] for name in ("settings", "retention")} | {
            "access_control": access_control.address,
            "safety_review": screening_address,
        }
        database_url = postgres.ensure_database("logging", "bench")
        tls = _tls(authority.issue("logging", serves=True))
        addresses, pids = [], []
        for number in range(processes):
            address, people_address, health_address, metrics = (f"127.0.0.1:{port}" for port in free_ports(4))
            addresses.append(address)
            settings: Section = {
                "environment": "local",
                "trust_domain": TRUST_DOMAIN,
                "services_address": address,
                "people_address": people_address,
                "health_address": health_address,
                "metrics_address": metrics,
                "database_url": database_url,
                "migrate_at_start": True,
                "audience": "kept:logging",
                "log_level": "error",
            }
            asked = {"settings": settings_of(number)} if settings_of else {}
            tables = {
                "tls": {name: str(path) for name, path in tls.model_dump().items()},
                "peers": peers | asked,
            }
            issuers: list[Section] = [
                {"kind": kind, "issuer": access_control.issuer(kind), "jwks_url": access_control.issuer(kind)}
                for kind in ("workforce", "customer")
            ]
            config, log = home / f"logging-{number}.toml", home / f"service-{number}.log"
            config.write_text(toml(settings, tables, {"issuers": issuers}))
            pids.append(
                stack.enter_context(process("services.logging", "--config", str(config), log=log)).pid
            )
            # Ready, and with its first leases: without one it takes no content.
            wait_until(lambda at=health_address: health.serves(at), log)  # type: ignore[misc]
            wait_until(lambda at=health_address: health.serves(at, "leases"), log)  # type: ignore[misc]
        yield Logging(
            addresses,
            pids,
            organization_id,
            authority.issue(f"gateway/{GATEWAY}", serves=False),
            access_control,
            postgres,
            database_url,
            screening_pid,
        )


def _tls(identity: Identity) -> Tls:
    return Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)

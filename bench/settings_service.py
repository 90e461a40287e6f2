"""Settings as it runs: processes of its own over mTLS on one embedded PostgreSQL with durable commits, knowing as many organizations as the
measurement wants. Nobody else is there: what settings would tell the others waits in its outbox."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from bench.access_control import process, wait_until
from deploy.local import health
from deploy.local.authority import Authority
from deploy.local.configuration import Section, toml
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.access_control.v1 import audit_pb2, audit_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2
from shared.clock import SystemClock
from shared.config import Tls
from shared.database import Database
from shared.driver import copy_binary, execute
from shared.server import server_credentials
from tests.support.server import TRUST_DOMAIN


@dataclass(frozen=True)
class Settings:
    """Where it is. addresses, pids: of its processes; the former for services. database_url: the one that they share."""

    addresses: Sequence[str]
    pids: Sequence[int]
    database_url: str


class _EmptyLog(audit_pb2_grpc.AuditServiceServicer):
    """An audit log with nothing of settings in it: so its database is as new as the log, and it serves."""

    def ListOwnEntries(self, request: Any, context: Any) -> audit_pb2.ListOwnEntriesResponse:
        return audit_pb2.ListOwnEntriesResponse(complete=True)


@contextmanager
def _empty_log(authority: Authority) -> Iterator[str]:
    identity = authority.issue("access_control", serves=True)
    tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
    server = grpc.server(ThreadPoolExecutor(2))
    audit_pb2_grpc.add_AuditServiceServicer_to_server(_EmptyLog(), server)  # type: ignore[abstract]
    [port] = free_ports(1)
    server.add_secure_port(f"127.0.0.1:{port}", server_credentials(tls, client_certificates=True))
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


@contextmanager
def settings_running(home: Path, authority: Authority, processes: int = 1) -> Iterator[Settings]:
    """Settings, stopped at the end. home: takes everything it writes."""
    with ExitStack() as stack:
        home.mkdir()
        postgres_port, nobody = free_ports(2)
        postgres = Postgres(home / "data", port=postgres_port, password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        url = postgres.ensure_database("settings", "bench")
        identity = authority.issue("settings", serves=True)
        tls = Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)
        log_address = stack.enter_context(_empty_log(authority))
        addresses, pids = [], []
        for number in range(processes):
            address, people_address, health_address, metrics = (f"127.0.0.1:{port}" for port in free_ports(4))
            addresses.append(address)
            options: Section = {
                "environment": "local",
                "trust_domain": TRUST_DOMAIN,
                "services_address": address,
                "people_address": people_address,
                "health_address": health_address,
                "metrics_address": metrics,
                "database_url": url,
                "migrate_at_start": True,
                "audience": "kept:settings",
                "log_level": "error",
            }
            tables: dict[str, Section] = {
                "tls": {name: str(path) for name, path in tls.model_dump().items()},
                "peers": {"access_control": log_address, "retention": f"127.0.0.1:{nobody}"},
            }
            issuers: list[Section] = [
                {
                    "kind": kind,
                    "issuer": f"http://127.0.0.1:{nobody}/{kind}",
                    "jwks_url": f"http://127.0.0.1:{nobody}/{kind}",
                }
                for kind in ("workforce", "customer")
            ]
            config, log = home / f"settings-{number}.toml", home / f"service-{number}.log"
            config.write_text(toml(options, tables, {"issuers": issuers}))
            pids.append(
                stack.enter_context(process("services.settings", "--config", str(config), log=log)).pid
            )
            wait_until(lambda at=health_address: health.serves(at), log)  # type: ignore[misc]
        yield Settings(addresses, pids, url)


def policy_of(organization_id: str, *, zero_data_retention: bool = False) -> policies_pb2.OrganizationPolicy:
    """The policy of a paying SaaS organization."""
    return policies_pb2.OrganizationPolicy(
        organization_id=organization_id,
        deployment=organizations_pb2.DEPLOYMENT_SAAS,
        tier=organizations_pb2.TIER_PAYING,
        zero_data_retention=zero_data_retention,
    )


def add_policies(url: str, organization_ids: Sequence[str], gateway: str = "") -> None:
    """Policies that have long been in force: of these organizations, and of a gateway that may record for all."""
    since: datetime = SystemClock().now() - timedelta(days=90)
    rows = [
        (number, f"org:{organization_id}", policy_of(organization_id).SerializeToString(), since)
        for number, organization_id in enumerate(organization_ids, 1)
    ]
    if gateway:
        policy = policies_pb2.GatewayPolicy(name=gateway, all_organizations=True)
        rows.append((len(rows) + 1, f"gateway:{gateway}", policy.SerializeToString(), since))
    database = Database(url, pool=1)
    with database.transaction() as tx:
        copy_binary(
            tx,
            "COPY policy_changes (version, subject, payload, effective_at) FROM STDIN (FORMAT BINARY)",
            ("int8", "text", "bytea", "timestamptz"),
            rows,
        )
        execute(tx, "ANALYZE policy_changes", ())
    database.close()

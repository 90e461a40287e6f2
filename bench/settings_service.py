"""Settings as it runs: processes of its own over mTLS on one embedded PostgreSQL with durable commits, knowing as many organizations as the
measurement wants. Nobody else is there: what settings would tell the others waits in its outbox."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bench.access_control import process, wait_until
from bench.empty_log import empty_log
from deploy.local import health
from deploy.local.authority import Authority
from deploy.local.configuration import Section, toml
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.settings.v1 import organizations_pb2, policies_pb2
from shared.clock import SystemClock
from shared.config import Tls
from shared.database import Database
from shared.driver import copy_binary, execute
from tests.support.server import TRUST_DOMAIN


@dataclass(frozen=True)
class Settings:
    """Where it is. addresses, pids: of its processes; the former for services. database_url: the one that they share."""

    addresses: Sequence[str]
    pids: Sequence[int]
    database_url: str


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
        log_address = stack.enter_context(empty_log(authority))
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

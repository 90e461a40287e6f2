"""Access control as it runs: a process of its own, over mTLS, on an embedded PostgreSQL with durable commits; beside it an empty RPC on
the same server builder, in a process of its own too."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import grpc

from bench import empty_server
from deploy.local import health, service_process
from deploy.local.authority import Authority, Identity
from deploy.local.configuration import Section, toml
from deploy.local.issuer.tokens import SigningKey
from deploy.local.ports import free_ports
from deploy.local.postgres import Postgres
from kept.access_control.v1 import authz_pb2, authz_pb2_grpc, directory_pb2, directory_pb2_grpc
from kept.options.v1 import roles_pb2
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from services.access_control.people.person import Identity as PersonIdentity
from services.access_control.people.person import Person, RoleAssignment
from services.access_control.people.standing import AGREEMENTS_NEEDED, Agreement, ReviewTerms
from services.access_control.store import directory, standing
from shared.channels import client_credentials
from shared.clock import SystemClock
from shared.config import Tls
from shared.database import Database
from shared.ids import new_id
from tests.support.server import TRUST_DOMAIN

Call = Callable[[], object]
# Addresses of settings and retention, as long as the block runs.
Leases = Callable[[Authority], AbstractContextManager[Mapping[str, str]]]
_STAFF: Final = ("retention", "/kept.retention.v1.RunService/ListRuns")
_MEMBER: Final = ("settings", "/kept.settings.v1.DataControlsService/GetDataControls")
_PATIENCE: Final = 60.0
_LASTS: Final = timedelta(hours=8)


@dataclass(frozen=True)
class Asker:
    """Somebody whose token a service shows to Check. service: who shows it."""

    service: str
    method: str
    token: str


@dataclass(frozen=True)
class Running:
    """Where the two servers are, with what certificates to call them, and whom to ask about: operators; members of one organization;
    members of as many organizations. service_pid: access control's. issuer_key: signs as the workforce's issuer. home: everything's folder,
    with the certificate authority. peers: where access control finds settings and retention."""

    empty_address: str
    address: str
    identities: Mapping[str, Identity]
    staff: Sequence[Asker]
    members_of_one: Sequence[Asker]
    members_of_many: Sequence[Asker]
    service_pid: int
    people_address: str
    database_url: str
    workforce_issuer: str
    issuer_key: Path
    home: Path
    peers: Mapping[str, str]

    def issuer(self, kind: str) -> str:
        """The URL of an issuer, "workforce" or "customer", where its keys are too."""
        return f"{self.workforce_issuer.rpartition('/')[0]}/{kind}"

    def token(self, service: str, subject: str) -> str:
        """A token of the workforce's issuer."""
        return _token(SigningKey(self.issuer_key), self.workforce_issuer, service, subject, "")

    def channel(self, name: str) -> grpc.Channel:
        """A channel as the caller of this name: the bench to the empty server, a service to access control."""
        identity = self.identities[name]
        address = self.empty_address if name == empty_server.CALLER else self.address
        return grpc.secure_channel(address, client_credentials(_tls(identity)))

    def people_channel(self) -> grpc.Channel:
        """A channel to access control as people have it."""
        authority = self.identities["logging"].authority.read_bytes()
        return grpc.secure_channel(self.people_address, grpc.ssl_channel_credentials(authority))

    def empty(self, channel: grpc.Channel) -> Call:
        """An empty call."""
        method = detectors_pb2_grpc.DetectorServiceStub(channel).ListRules
        return partial(method, detectors_pb2.ListRulesRequest(), timeout=30)

    def check(self, channel: grpc.Channel, asker: Asker) -> Call:
        """A Check that is allowed. channel: as the asker's service."""
        method = authz_pb2_grpc.AuthzServiceStub(channel).Check
        return partial(method, authz_pb2.CheckRequest(token=asker.token, method=asker.method), timeout=30)


@contextmanager
def running(people: int = 32, leases: Leases | None = None) -> Iterator[Running]:
    """Both servers, stopped at the end. people: how many of each kind there are to ask about. leases: who plays settings and retention;
    nobody without: what needs their leases refuses, and Check needs none."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-bench-")))
        ports = free_ports(7)
        address, people_address, health_address, metrics, issuer, empty, _ = (
            f"127.0.0.1:{port}" for port in ports
        )
        postgres = Postgres(home / "data", port=ports[-1], password="bench", log=home / "postgres.log")
        postgres.start()
        stack.callback(postgres.stop)
        url = postgres.ensure_database("access_control", "bench")
        authority = Authority(home / "authority", trust_domain=TRUST_DOMAIN, environment="local")
        tls = _tls(authority.issue("access_control", serves=True))
        (home / "keys").mkdir(mode=0o700)
        config = home / "access_control.toml"
        settings: Section = {
            "environment": "local",
            "trust_domain": TRUST_DOMAIN,
            "services_address": address,
            "people_address": people_address,
            "health_address": health_address,
            "metrics_address": metrics,
            "database_url": url,
            "migrate_at_start": True,
            "audience": "kept:access_control",
            "key_store": str(home / "keys"),
            "log_level": "error",
        }
        tables = {
            "tls": {name: str(path) for name, path in tls.model_dump().items()},
            "peers": (
                stack.enter_context(leases(authority)) if leases else {"settings": empty, "retention": empty}
            ),
        }
        issuers: list[Section] = [
            {"kind": kind, "issuer": f"http://{issuer}/{kind}", "jwks_url": f"http://{issuer}/{kind}"}
            for kind in ("workforce", "customer")
        ]
        config.write_text(toml(settings, tables, {"issuers": issuers}))
        key = SigningKey(home / "issuer.pem")
        stack.enter_context(_published(key, ports[4]))
        _bootstrap(config)
        subjects = [f"operator-{number}" for number in range(people)]
        add_staff(url, f"http://{issuer}/workforce", subjects, roles_pb2.STAFF_ROLE_OPERATOR)

        def asker(of: tuple[str, str], kind: str, subject: str, organization: str = "") -> Asker:
            token = _token(key, f"http://{issuer}/{kind}", of[0], subject, organization)
            return Asker(*of, token)

        service = stack.enter_context(
            process("services.access_control", "--config", str(config), log=home / "service.log")
        )
        wait_until(lambda: health.serves(health_address), home / "service.log")
        beside = stack.enter_context(
            process(
                "bench.empty_server",
                str(home / "authority"),
                empty.rpartition(":")[2],
                log=home / "empty.log",
            )
        )
        assert beside.stdout is not None
        if beside.stdout.readline() != b"serving\n":
            raise RuntimeError((home / "empty.log").read_text()[-2000:])
        callers = ("settings", "retention", "logging", empty_server.CALLER)
        one = new_id("org")
        members = [(new_id("member"), one) for _ in range(people)]
        scattered = [(new_id("member"), new_id("org")) for _ in range(people)]
        there = Running(
            empty,
            address,
            {name: authority.issue(name, serves=name != empty_server.CALLER) for name in callers},
            [asker(_STAFF, "workforce", subject) for subject in subjects],
            [asker(_MEMBER, "customer", *member) for member in members],
            [asker(_MEMBER, "customer", *member) for member in scattered],
            service.pid,
            people_address,
            url,
            f"http://{issuer}/workforce",
            home / "issuer.pem",
            home,
            tables["peers"],
        )
        _sync(there, members + scattered)
        yield there


def _tls(identity: Identity) -> Tls:
    return Tls(certificate=identity.certificate, key=identity.key, authority=identity.authority)


def _token(key: SigningKey, issuer: str, service: str, subject: str, organization: str) -> str:
    now = int(time.time())
    claims = {"iss": issuer, "sub": subject, "aud": f"kept:{service}", "iat": now}
    claims |= {"exp": now + int(_LASTS.total_seconds())}
    return key.sign(claims | ({"org": organization} if organization else {}))


@contextmanager
def _published(key: SigningKey, port: int) -> Iterator[None]:
    """The issuers' public key, over HTTP."""
    body = json.dumps({"keys": [key.public()]}).encode()

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _bootstrap(config: Path) -> None:
    firsts = [
        argument
        for name in ("One", "Two")
        for argument in ("--person", f"{name} <{name}@example.com>", "--subject", name)
    ]
    service_process.run(["-m", "services.access_control", "bootstrap", *firsts, "--config", str(config)])


def add_staff(url: str, issuer: str, subjects: Sequence[str], holds: "roles_pb2.StaffRole.ValueType") -> None:
    """People of the workforce in good standing, all of one role."""
    database, now = Database(url, pool=2), SystemClock().now()
    with database.transaction() as tx:
        for subject in subjects:
            person = Person(new_id("person"), subject, f"{subject}@example.com")
            role = RoleAssignment(new_id("role"), person.person_id, holds, "bench", now, "bench")
            identity = PersonIdentity(
                new_id("identity"), person.person_id, issuer, subject, "bench", now, "bench"
            )
            directory.add_person(tx, person, identity, now)
            directory.add_assignment(tx, role)
            until, review = now + timedelta(days=30), ReviewTerms().confirmed("bench", now)
            signed = (AGREEMENTS_NEEDED, bytes(32), now, until, "bench", now, review)
            standing.add_agreement(tx, Agreement(new_id("agreement"), person.person_id, *signed))
    database.close()


def _sync(there: Running, members: Sequence[tuple[str, str]]) -> None:
    with there.channel("settings") as channel:
        stub = directory_pb2_grpc.DirectoryServiceStub(channel)
        for member_id, organization_id in members:
            stub.SyncMember(
                directory_pb2.SyncMemberRequest(
                    member_id=member_id,
                    organization_id=organization_id,
                    role=roles_pb2.CUSTOMER_ROLE_ADMIN,
                    display_name="A Member",
                    revision=1,
                ),
                timeout=30,
            )


@contextmanager
def process(module: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this project as long as the block runs. log: takes what it writes to stderr."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=service_process.ENVIRONMENT,
            cwd=service_process.ROOT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=_PATIENCE)


def wait_until(ready: Callable[[], bool], log: Path) -> None:
    """Waits for a service to start. Raises RuntimeError with the end of its log when it does not."""
    until = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError("The service did not start:\n" + log.read_text()[-2000:])
        time.sleep(0.05)

"""The simulated world: every process, its database, its clock, its key store; who signs in; what dies and comes back."""

import hashlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

import services.access_control.wiring
import services.logging.wiring
import services.retention.wiring
import services.safety_review.wiring
import services.settings.wiring
from services.access_control.audit_log import AuditLog
from services.access_control.bootstrap import First, bootstrap
from services.access_control.config import AccessControlConfig
from services.access_control.decision_log import DecisionLog
from services.access_control.key_stores.files import FileKeyStore
from services.logging.config import LoggingConfig
from services.retention.config import RetentionConfig
from services.safety_review.config import SafetyReviewConfig
from services.settings.config import SettingsConfig
from shared import ids
from shared.database import Database, migrate
from shared.errors import KeptError
from shared.identity import Caller, CallerKind, IssuerKeys
from shared.inprocess import InProcess
from shared.redaction import Secret
from shared.service import Service
from tests.simulation.clocks import ProcessClock, WorldTime
from tests.simulation.faults import Crash, Faults
from tests.simulation.network import channel
from tests.support.postgres import TestServer, database_name

_ROOMS = Path(services.settings.wiring.__file__).parents[1]
_ISSUERS = {"workforce": "https://workforce.test", "customer": "https://customer.test"}
_KEY = ECKey.generate_key("P-256", parameters={"kid": "sim"})


@dataclass(frozen=True)
class Room:
    """A service: how it is configured and wired. config: what it needs beyond what every service does."""

    config_class: Any
    wire: Callable[..., Service]


ROOMS: dict[str, Room] = {
    "settings": Room(SettingsConfig, services.settings.wiring.wire),
    "logging": Room(LoggingConfig, services.logging.wiring.wire),
    "access_control": Room(AccessControlConfig, services.access_control.wiring.wire),
    "retention": Room(RetentionConfig, services.retention.wiring.wire),
    "safety_review": Room(SafetyReviewConfig, services.safety_review.wiring.wire),
}
# Two processes of logging share a database: what one acknowledged the other must know.
PROCESSES = {
    "settings": "settings",
    "logging": "logging",
    "logging_2": "logging",
    "access_control": "access_control",
    "retention": "retention",
    "safety_review": "safety_review",
}


@dataclass
class Process:
    """A process that runs: its clock survives it, everything in memory does not."""

    name: str
    room: str
    clock: ProcessClock
    database: Database
    server: InProcess


class Templates:
    """Migrated databases to copy from, made once for all seeds."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.names: dict[str, str] = {}
        for room in ROOMS:
            url = server.fresh_database(f"{room}_template")
            database = Database(url, pool=2)
            migrate(database, _ROOMS / room / "migrations")
            database.close()
            self.names[room] = database_name(url)


class World:
    """One history's world."""

    def __init__(self, seed: random.Random, templates: Templates, home: Path) -> None:
        self.seed = seed
        self.time = WorldTime()
        self.faults = Faults(random.Random(seed.random()))
        self._home = home
        self._templates = templates
        entropy = random.Random(seed.random())
        ids.entropy = entropy.randbytes  # a seed replays exactly
        self._patch_issuers()
        self.urls = {
            room: templates.server.fresh_database(room, template=templates.names[room]) for room in ROOMS
        }
        self.processes: dict[str, Process] = {}
        for name, room in PROCESSES.items():
            self.processes[name] = self._start(name, room, ProcessClock(self.time))

    def close(self) -> None:
        """Ends everything and removes what it left."""
        for process in self.processes.values():
            process.database.close()
        for url in self.urls.values():
            self._templates.server.drop(url)
        shutil.rmtree(self._home, ignore_errors=True)

    def restart(self, name: str) -> None:
        """The process died; another takes its place, with nothing but what is on disk."""
        old = self.processes[name]
        old.database.close()
        was, self.faults.off = self.faults.off, True
        try:
            self.processes[name] = self._start(name, old.room, old.clock)
        finally:
            self.faults.off = was

    def _start(self, name: str, room: str, clock: ProcessClock) -> Process:
        database = Database(self.urls[room], pool=3, on_commit=lambda _: self.faults.step(name))
        config = ROOMS[room].config_class.model_validate(self._configuration(room))
        service = ROOMS[room].wire(
            config,
            clock,
            database,
            lambda peer: channel(
                self, lambda: self._any_of(peer), lambda: Caller(CallerKind.SERVICE, name=room)
            ),
        )
        return Process(name, room, clock, database, InProcess(service))

    def _any_of(self, room: str) -> str:
        names = [name for name, of in PROCESSES.items() if of == room]
        return names[0] if len(names) == 1 else self.seed.choice(names)

    def _configuration(self, room: str) -> dict[str, Any]:
        nowhere = "127.0.0.1:1"
        values: dict[str, Any] = {
            "environment": "local",
            "trust_domain": "sim.local",
            "services_address": nowhere,
            "people_address": nowhere,
            "health_address": nowhere,
            "metrics_address": nowhere,
            "database_url": self.urls[room],
            "tls": {"certificate": "/nowhere", "key": "/nowhere", "authority": "/nowhere"},
            "issuers": [
                {"kind": kind, "issuer": issuer, "jwks_url": f"{issuer}/jwks.json"}
                for kind, issuer in _ISSUERS.items()
            ],
            "audience": f"kept:{room}",
        }
        if room == "access_control":
            values["key_store"] = str(self._home / "key_store")
            (self._home / "key_store").mkdir(mode=0o700, parents=True, exist_ok=True)
        if room == "retention":
            values["signing_key"] = str(self._home / "retention.key")
        if room == "settings":
            values["account_deletion_grace_days"] = 0
            values["password_hashing"] = {"passes": 1, "memory_kib": 8, "lanes": 1}
        return values

    def _patch_issuers(self) -> None:
        def fetch(keys: IssuerKeys) -> None:
            keys._keys = KeySet([_KEY])
            keys._ids = frozenset({"sim"})
            keys._fetched = keys._clock.boottime()

        IssuerKeys._fetch = fetch  # type: ignore[method-assign,assignment] # issuers are outside this world

    def bootstrap(self) -> None:
        """The first two operators."""
        process = self.processes["access_control"]
        log = AuditLog(process.database, process.clock, FileKeyStore(self._home / "key_store"))
        firsts = (
            First("Olga Operator", "olga@vendor.example", "olga"),
            First("Omar Operator", "omar@vendor.example", "omar"),
        )
        bootstrap(
            process.database,
            process.clock,
            DecisionLog(process.database, log, process.clock),
            _ISSUERS["workforce"],
            firsts,
            hashlib.sha256(b"agreement").digest(),
        )

    # who calls

    def token(self, kind: str, subject: str, room: str, organization_id: str = "") -> Secret:
        """A fresh token for one service."""
        now = int(self.time.now.timestamp())
        claims = {"iss": _ISSUERS[kind], "sub": subject, "aud": f"kept:{room}", "iat": now, "exp": now + 900}
        if organization_id:
            claims["org"] = organization_id
        return Secret(jwt.encode({"alg": "ES256", "kid": "sim"}, claims, _KEY))

    def person(self, subject: str, organization_id: str = "") -> Callable[[str], grpc.Channel]:
        """Channels for a person of the workforce, or of a customer where an organization is given."""
        kind = "customer" if organization_id else "workforce"

        def connect(room: str) -> grpc.Channel:
            return channel(
                self,
                lambda: self._any_of(room),
                lambda: Caller(
                    CallerKind.CUSTOMER if organization_id else CallerKind.STAFF,
                    issuer=_ISSUERS[kind],
                    subject=subject,
                    token=self.token(kind, subject, room, organization_id),
                    organization_id=organization_id,
                ),
            )

        return connect

    def public(self, room: str) -> grpc.Channel:
        """A channel for nobody."""
        return channel(self, lambda: self._any_of(room), lambda: Caller(CallerKind.PUBLIC))

    def gateway(self, process: str) -> grpc.Channel:
        """The gateway's channel to one process of logging."""
        return channel(self, lambda: process, lambda: Caller(CallerKind.GATEWAY, name="sim"))

    # what processes do by themselves

    def step_jobs(self, rounds: int = 1) -> None:
        """Each process's jobs take a step each, a few times, in an order that the seed decides."""
        for _ in range(rounds):
            steps = [
                (name, index)
                for name, process in self.processes.items()
                for index in range(len(process.server.service.jobs))
            ]
            self.seed.shuffle(steps)
            for name, index in steps:
                self.step_job(name, index)

    def step_job(self, name: str, index: int) -> None:
        """One job takes steps until it says that there is no more to do."""
        try:
            for _ in range(50):
                if not self.processes[name].server.service.jobs[index].step():
                    return
        except KeptError:
            return  # it says so in the log and tries again later
        except Crash as crash:
            self.restart(crash.process)

    def settle(self) -> None:
        """Nothing goes wrong for a while, and everybody does what there is to do."""
        was, self.faults.off = self.faults.off, True
        try:
            for process in self.processes.values():
                process.clock.skew = timedelta(0)
            for _ in range(4):
                self.step_jobs()
                self.time.advance(timedelta(seconds=1))
                self.leases()
        finally:
            self.faults.off = was

    def leases(self) -> None:
        """Every replica polls once."""
        for name, process in list(self.processes.items()):
            for index, job in enumerate(process.server.service.jobs):
                if job.name.startswith("replica:"):
                    self.step_job(name, index)

    def attempt(self, act: Callable[[], Any]) -> Any:
        """What an actor gets: an answer, or the error. A crash in the middle is an error to the actor too."""
        try:
            return act()
        except KeptError as error:
            return error
        except Crash as crash:
            self.restart(crash.process)
            return None

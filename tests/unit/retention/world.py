"""The retention service in process, on a real database, between played services whose calls and answers can be lost."""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from kept.access_control.v1 import audit_pb2, audit_pb2_grpc, authz_pb2_grpc, keys_pb2_grpc
from kept.access_control.v1 import lifecycle_pb2_grpc as access_grpc
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import lifecycle_pb2_grpc as logging_grpc
from kept.retention.v1 import (
    certificates_pb2_grpc,
    contracts_pb2_grpc,
    erasures_pb2_grpc,
    holds_pb2,
    holds_pb2_grpc,
    rules_pb2_grpc,
    runs_pb2_grpc,
)
from kept.safety_review.v1 import lifecycle_pb2_grpc as safety_grpc
from kept.settings.v1 import lifecycle_pb2_grpc as settings_grpc
from services.retention.config import RetentionConfig
from services.retention.wiring import wire
from shared.config import Tls
from shared.database import Database
from shared.errors import KeptError, peer_unavailable
from shared.identity import Caller, CallerKind
from shared.ids import new_record_id
from shared.inprocess import InProcess
from shared.jobs import Job
from shared.redaction import Secret
from tests.support.clocks import ManualClock
from tests.unit.retention import peers

ONE: Final = "org_" + "1" * 26
TWO: Final = "org_" + "2" * 26
SAFETY: Final = Caller(CallerKind.SERVICE, name="safety_review")
SETTINGS: Final = Caller(CallerKind.SERVICE, name="settings")
START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def staff(number: int, role: str) -> Caller:
    """One of the vendor's people, with one role."""
    return Caller(CallerKind.STAFF, token=Secret(f"person_{number:026}/{role}"))


def admin(organization_id: str) -> Caller:
    """An admin of a customer."""
    return Caller(CallerKind.CUSTOMER, token=Secret(f"member_{'0' * 26}/{organization_id}"))


@contextmanager
def refused(reason: "reasons_pb2.Reason.ValueType") -> Iterator[list[KeptError]]:
    """The block fails for this reason; the error lies in the list afterwards."""
    caught: list[KeptError] = []
    with pytest.raises(KeptError) as raised:
        yield caught
    assert raised.value.reason == reason, raised.value
    caught.append(raised.value)


class Crashes:
    """The process dies before or after about every third commit; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._random = random.Random(seed)

    def __call__(self, where: str) -> None:
        if self._random.random() < 0.18:
            self.seen[where] += 1
            raise Crash


class Crash(BaseException):
    """The process dies here."""


class World:
    """The service and everything around it. down: methods that cannot be reached; lose_first: whether the first call of every method
    is lost, and of the second the answer; crash: called around every commit; raises Crash where the process dies; during, afterwards:
    called with every call to another service before it is served, and before its answer arrives."""

    def __init__(self, url: str, home: Path) -> None:
        self.clock = ManualClock(START)
        self.home = home
        self.down: set[str] = set()
        self.lose_first = False
        self.crash: Callable[[str], None] | None = None
        self.during: Callable[[str], None] | None = None
        self.afterwards: Callable[[str], None] | None = None
        self.url = url
        self._calls: Counter[str] = Counter()
        self.database = Database(url, on_commit=self._on_commit)
        self.term_days = 30
        self.notifications: list[dict[str, Any]] = []
        self.logging = peers.Logging(self.clock)
        self.keys = peers.Custody(self.clock)  # type: ignore[abstract]
        self.audit = peers.Audit()  # type: ignore[abstract]
        self.access = peers.Access(self.clock)
        self.safety = peers.Safety(self.clock)
        self.settings = peers.Settings(self.clock)
        self.authz = peers.Authz()  # type: ignore[abstract]
        self.wire()

    def _on_commit(self, where: str) -> None:
        if self.crash is not None:
            self.crash(where)

    def wire(self) -> None:
        """Starts the service anew from its database."""
        self._rests_until: dict[str, float] = {}
        others = {
            "logging": peers.service(
                lambda server: logging_grpc.add_LifecycleServiceServicer_to_server(self.logging, server)
            ),
            "access_control": peers.service(
                lambda server: keys_pb2_grpc.add_KeyServiceServicer_to_server(self.keys, server),
                lambda server: audit_pb2_grpc.add_AuditServiceServicer_to_server(self.audit, server),
                lambda server: authz_pb2_grpc.add_AuthzServiceServicer_to_server(self.authz, server),
                lambda server: access_grpc.add_LifecycleServiceServicer_to_server(self.access, server),
            ),
            "safety_review": peers.service(
                lambda server: safety_grpc.add_LifecycleServiceServicer_to_server(self.safety, server)
            ),
            "settings": peers.service(
                lambda server: settings_grpc.add_LifecycleServiceServicer_to_server(self.settings, server)
            ),
        }
        me = Caller(CallerKind.SERVICE, name="retention")
        channels = {
            name: InProcess(played, before=self._before, after=self._after).channel(me, name)
            for name, played in others.items()
        }
        nowhere = self.home / "nowhere"
        config = RetentionConfig.model_validate(
            {
                "environment": "local",
                "trust_domain": "kept.test",
                "services_address": "h:1",
                "people_address": "h:1",
                "health_address": "h:1",
                "metrics_address": "h:1",
                "database_url": "unused",
                "tls": Tls(certificate=nowhere, key=nowhere, authority=nowhere),
                "audience": "kept:retention",
                "signing_key": self.home / "signing_key.pem",
                "default_term_days": self.term_days,
                "notifications": self.notifications,
            }
        )
        self.service = wire(config, self.clock, self.database, channels.__getitem__)
        self.server = InProcess(self.service)

    def _before(self, method: str) -> None:
        name = method.rsplit("/", 1)[-1]
        if name in ("Check", "CheckVoices", "RequireOrganization"):  # asked before anything of ours is done
            return
        self._calls[name] += 1
        if self.during is not None:
            self.during(method)
        if name in self.down or (self.lose_first and self._calls[name] == 1):
            raise peer_unavailable("played")

    def _after(self, method: str) -> None:
        if self.afterwards is not None:
            self.afterwards(method)
        if self.lose_first and self._calls[method.rsplit("/", 1)[-1]] == 2:
            raise peer_unavailable("played")

    def twin(self) -> "World":
        """Another process of the service: the same database, key, clock and peers."""
        other = copy.copy(self)
        other.database = Database(self.url)
        other.wire()
        return other

    def step(self, *names: str) -> bool:
        """One step of each job, or of those named; a crash starts the service anew. Whether anything is left to do at once."""
        again = False
        for name in [job.name for job in self.service.jobs if not names or job.name in names]:
            again = self._step(name) or again
        return again

    def _step(self, name: str) -> bool:
        job = next(job for job in self.service.jobs if job.name == name)
        job.wake.clear()
        self._rests_until[name] = self.clock.boottime() + job.interval.total_seconds()
        with suppress(KeptError):
            try:
                return job.step()
            except Crash:
                self.wire()
        return False

    def settle(self, rounds: int, until: Callable[[], bool] = lambda: False) -> None:
        """Lets all jobs work as a JobRunner does, a second passing between rounds, at most so many, or until something is so."""
        for _ in range(rounds):
            if until():
                return
            more = {job.name for job in self.service.jobs if self._is_due(job)}
            for _ in range(20):
                more = {job.name for job in self.service.jobs if job.name in more and self._step(job.name)}
                more |= {job.name for job in self.service.jobs if job.wake.is_set()}
                if not more:
                    break
            self.clock.advance(timedelta(seconds=1))

    def _is_due(self, job: Job) -> bool:
        return job.wake.is_set() or self.clock.boottime() >= self._rests_until.get(job.name, 0.0)

    def record(self, organization_id: str, at: datetime) -> bytes:
        """A record of an organization, with its epoch."""
        record_id = new_record_id(at)
        self.logging.rows[record_id] = organization_id
        self.keys.epochs.add((organization_id, at.date()))
        return record_id

    def in_hand(self, organization_id: str, at: datetime, end_user: str) -> bytes:
        """A record that a process of logging has taken, and not written yet."""
        record_id = self.record(organization_id, at)
        self.logging.in_hand[record_id] = self.logging.rows.pop(record_id)
        self.logging.end_users[record_id] = end_user
        return record_id

    def channel(self, caller: Caller) -> grpc.Channel:
        return self.server.channel(caller)

    def holds(self, caller: Caller) -> holds_pb2_grpc.HoldServiceStub:
        return holds_pb2_grpc.HoldServiceStub(self.channel(caller))

    def contracts(self, caller: Caller) -> contracts_pb2_grpc.ContractServiceStub:
        return contracts_pb2_grpc.ContractServiceStub(self.channel(caller))

    def runs(self, caller: Caller) -> runs_pb2_grpc.RunServiceStub:
        return runs_pb2_grpc.RunServiceStub(self.channel(caller))

    def erasures(self, caller: Caller) -> erasures_pb2_grpc.ErasureServiceStub:
        return erasures_pb2_grpc.ErasureServiceStub(self.channel(caller))

    def certificates(self, caller: Caller) -> certificates_pb2_grpc.CertificateServiceStub:
        return certificates_pb2_grpc.CertificateServiceStub(self.channel(caller))

    def rules(self, caller: Caller) -> rules_pb2_grpc.RuleServiceStub:
        return rules_pb2_grpc.RuleServiceStub(self.channel(caller))

    def order(
        self,
        *record_ids: bytes,
        kind: "holds_pb2.HoldKind.ValueType" = holds_pb2.HOLD_KIND_LEGAL,
        request_id: str = "request-1",
        organization_id: str = ONE,
        ahead: timedelta = timedelta(days=90),
    ) -> holds_pb2.PlaceHoldRequest:
        """A request for a hold."""
        request = holds_pb2.PlaceHoldRequest(
            request_id=request_id,
            kind=kind,
            organization_id=organization_id,
            record_ids=record_ids,
            reference="Matter 12",
        )
        request.review_at.FromDatetime(self.clock.now() + ahead)
        return request

    def entries(self, kind: str) -> list[audit_pb2.AuditEntry]:
        """Audit entries of a kind that arrived."""
        return [entry for entry in self.audit.entries.values() if entry.kind == kind]

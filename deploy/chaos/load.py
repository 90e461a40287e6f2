"""The load: gateways that record, an engineer who reads under a grant, people who look. Each is a client as it is shipped (kept.client),
with its own retries; what it cannot mend by them is a failed call."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Self

import grpc

from deploy.chaos.installation import Installation
from deploy.chaos.tally import Call, Tally
from deploy.local.story.plot import Plot
from kept.access_control.v1 import directory_pb2, directory_pb2_grpc, grants_pb2, grants_pb2_grpc
from kept.client import profile, session
from kept.client.connection import Connection
from kept.client.errors import KeptError
from kept.client.reading import read_records
from kept.client.recorder import Recorder
from kept.logging.v1 import ingest_pb2, interactions_pb2, read_pb2, read_pb2_grpc
from kept.retention.v1 import certificates_pb2, certificates_pb2_grpc
from kept.safety_review.v1 import detectors_pb2, detectors_pb2_grpc
from kept.settings.v1 import trust_pb2, trust_pb2_grpc

RECORD: Final = "record"
READ: Final = "read under a grant"
ASK: Final = "ask for a grant"
LOOK: Final = "look at "
# What a grant is asked for with, by which the ledger finds them.
ASKED_FOR: Final = "chaos: is this asked for once?"
_GATEWAYS: Final = 2
_AT_ONCE: Final = 10
_READ_AT_ONCE: Final = 20
_KEPT: Final = frozenset({ingest_pb2.OUTCOME_STORED, ingest_pb2.OUTCOME_DUPLICATE})
# Between two calls of one caller: the machine is to have time for what is done to it.
_PACE: Final = 0.05


@dataclass
class Load:
    """Callers on threads of their own. `acknowledged` grows; `missing` are records that were acknowledged and then not read; `refused`:
    receipts that said "never", which nothing here deserves; `asked`: grants that somebody got an id for."""

    installation: Installation
    plot: Plot
    tally: Tally = field(default_factory=Tally)
    sent: set[bytes] = field(default_factory=set)
    acknowledged: list[bytes] = field(default_factory=list)
    missing: set[bytes] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    crashed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._organization_id = self.plot.customers["saas"].organization_id
        stage = self.plot.stage
        self._grant_id = self._granted()
        layout = self.installation.stack.layout
        own = profile.load(layout.profile)
        several = {service: self.installation.several(service, "people") for service in own.addresses}
        self._profile = replace(own, addresses=several)
        for username in ("emma", "sara"):
            session.Sessions(self._profile, now=stage.now).sign_in(
                "workforce", username, stage.stack.password(username), username, "kept:access_control"
            )

    @property
    def kinds(self) -> list[str]:
        """Every kind of call there is."""
        return [RECORD, READ, ASK, *(LOOK + service for service in self._profile.addresses)]

    def __enter__(self) -> Self:
        bodies = [self._record] * _GATEWAYS + [self._read, self._look]
        for number, body in enumerate(bodies):
            thread = threading.Thread(target=self._run, args=(body,), name=f"load-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 - a caller that crashed must not pass for one that was content
            self.crashed.append(f"{body.__name__}: {type(error).__name__}: {error}")

    def _granted(self) -> str:
        """A grant for everything that will be recorded."""
        now = self.plot.stage.now()
        scope = grants_pb2.DataScope(
            organization_id=self._organization_id, detail=grants_pb2.DETAIL_MASKED, budget=100_000
        )
        getattr(scope, "from").FromDatetime(now - timedelta(minutes=1))
        scope.until.FromDatetime(now + timedelta(hours=1))
        request = self.plot.asking("answers are cut off in the middle", timedelta(hours=1), data=scope)
        request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
        request.ticket = "SUP-1042"
        return self.plot.grant("emma", "elias", request).grant_id

    def _timed(self, kind: str, call: Callable[[], object]) -> bool:
        began = time.monotonic()
        reason = ""
        try:
            call()
        except KeptError as error:
            reason = error.reason
        self.tally.add(Call(kind, began, time.monotonic() - began, reason))
        return not reason

    def _record(self) -> None:
        """Sends, and sends again what was not taken, until all of it is."""
        gateway = self.plot.stage.stack.identity("gateway/demo")
        address = self.installation.several("logging", "services")
        files = (gateway.certificate, gateway.key, gateway.authority)
        with Recorder(address, *files, now=self.plot.stage.now, deadline=20) as recorder:
            while not self._over.is_set():
                waiting = [self._interaction(recorder.mint()) for _ in range(_AT_ONCE)]
                with self._lock:
                    self.sent |= {one.record_id for one in waiting}
                gave_up = time.monotonic() + 60
                while waiting and time.monotonic() < gave_up:
                    waiting = self._offer(recorder, waiting)
                    self._over.wait(_PACE)

    def _offer(
        self, recorder: Recorder, waiting: list[interactions_pb2.Interaction]
    ) -> list[interactions_pb2.Interaction]:
        receipts: list[ingest_pb2.Receipt] = []
        copies = [interactions_pb2.Interaction.FromString(one.SerializeToString()) for one in waiting]

        def record() -> None:
            receipts.extend(recorder.record(copies))
            later = [one for one in receipts if one.retryable]
            if later:
                raise KeptError(_name(later[0]), "Not for the moment.", status="UNAVAILABLE")

        self._timed(RECORD, record)
        left = []
        with self._lock:
            for one, receipt in zip(waiting, receipts, strict=False):
                if receipt.outcome in _KEPT:
                    self.acknowledged.append(one.record_id)
                elif receipt.retryable:
                    left.append(one)
                else:
                    self.refused.append(_name(receipt))
        return left if receipts else waiting

    def _interaction(self, record_id: bytes) -> interactions_pb2.Interaction:
        made = interactions_pb2.Interaction(
            record_id=record_id, organization_id=self._organization_id, application="chaos", model="m-1"
        )
        made.content.prompt.add().parts.add(text=record_id.hex() * 4)
        return made

    def _read(self) -> None:
        """Reads records that were acknowledged, some of the newest and some of any age: all must be there."""
        with Connection(
            self._profile, session.Sessions(self._profile, self.plot.stage.now).find("emma")
        ) as people:
            stub = read_pb2_grpc.ReadServiceStub(people.channel("logging"))
            while not self._over.wait(_PACE):
                with self._lock:
                    known = self.acknowledged
                    chosen = set(known[-_READ_AT_ONCE // 2 :])
                    while known and len(chosen) < min(_READ_AT_ONCE, len(known)):
                        chosen.add(known[secrets.randbelow(len(known))])
                if chosen:
                    self._timed(READ, lambda chosen=chosen: self._read_all(stub, chosen))  # type: ignore[misc]

    def _read_all(self, stub: read_pb2_grpc.ReadServiceStub, chosen: set[bytes]) -> None:
        request = read_pb2.ReadInteractionsRequest(
            grant_id=self._grant_id,
            organization_id=self._organization_id,
            detail=grants_pb2.DETAIL_MASKED,
            filter=read_pb2.RecordFilter(record_ids=sorted(chosen)),
        )
        read = {response.record.record_id for response in read_records(stub, request)}
        with self._lock:
            self.missing |= chosen - read

    def _look(self) -> None:
        """One small read of every service in turn."""
        with ExitStack() as open_:
            sessions = session.Sessions(self._profile, self.plot.stage.now)
            emma = open_.enter_context(Connection(self._profile, sessions.find("emma")))
            sara = open_.enter_context(Connection(self._profile, sessions.find("sara")))
            looks = _looks(emma.channel, sara.channel)
            listed = read_pb2.ListInteractionsRequest(
                grant_id=self._grant_id, organization_id=self._organization_id, page_size=10
            )
            logging = read_pb2_grpc.ReadServiceStub(emma.channel("logging"))
            looks["logging"] = lambda: logging.ListInteractions(listed)
            asking = grants_pb2_grpc.GrantServiceStub(emma.channel("access_control"))
            while not self._over.is_set():
                for service, look in looks.items():
                    self._timed(LOOK + service, look)
                    self._over.wait(_PACE)
                self._timed(ASK, lambda: self._ask(asking))

    def _ask(self, asking: grants_pb2_grpc.GrantServiceStub) -> None:
        scope = grants_pb2.DataScope(
            organization_id=self._organization_id, detail=grants_pb2.DETAIL_METADATA, budget=1
        )
        now = self.plot.stage.now()
        getattr(scope, "from").FromDatetime(now - timedelta(minutes=1))
        scope.until.FromDatetime(now)
        request = self.plot.asking(ASKED_FOR, timedelta(minutes=10), data=scope)
        request.purpose = grants_pb2.PURPOSE_ENGINEERING_SUPPORT
        request.ticket = "SUP-1043"
        self.asked.add(asking.RequestGrant(request).grant.grant_id)


def _looks(
    emma: Callable[[str], grpc.Channel], sara: Callable[[str], grpc.Channel]
) -> dict[str, Callable[[], Any]]:
    settings = trust_pb2_grpc.TrustServiceStub(emma("settings"))
    directory = directory_pb2_grpc.DirectoryServiceStub(emma("access_control"))
    certificates = certificates_pb2_grpc.CertificateServiceStub(emma("retention"))
    detectors = detectors_pb2_grpc.DetectorServiceStub(sara("safety_review"))
    return {
        "settings": lambda: settings.GetCommitments(trust_pb2.GetCommitmentsRequest()),
        "access_control": lambda: directory.GetMe(directory_pb2.GetMeRequest()),
        "retention": lambda: certificates.ListSigningKeys(certificates_pb2.ListSigningKeysRequest()),
        "safety_review": lambda: detectors.ListRules(detectors_pb2.ListRulesRequest()),
    }


def _name(receipt: ingest_pb2.Receipt) -> str:
    from kept.errors.v1 import reasons_pb2

    return reasons_pb2.Reason.Name(receipt.reason).removeprefix("REASON_")

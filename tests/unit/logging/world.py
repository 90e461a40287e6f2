"""A logging service among its stand-ins, as tests drive it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from kept.logging.v1 import (
    ingest_pb2,
    ingest_pb2_grpc,
    interactions_pb2,
    lifecycle_pb2_grpc,
    read_pb2_grpc,
    usage_pb2_grpc,
)
from services.logging.config import LoggingConfig
from services.logging.wiring import wire
from shared.database import Database
from shared.identity import Caller
from shared.ids import new_record_id
from shared.inprocess import InProcess
from shared.jobs import Job
from tests.support.clocks import ManualClock
from tests.unit.logging.peers import ENGINEER, GATEWAY, NOON, OPERATOR, ORG, RETENTION, Peers


def config() -> LoggingConfig:
    """A configuration; nothing of it is listened on."""
    return LoggingConfig.model_validate(
        {
            "environment": "local",
            "trust_domain": "kept.local",
            "services_address": "127.0.0.1:1",
            "people_address": "127.0.0.1:2",
            "health_address": "127.0.0.1:3",
            "metrics_address": "127.0.0.1:4",
            "database_url": "unused",
            "tls": {"certificate": "c", "key": "k", "authority": "a"},
            "audience": "kept:logging",
        }
    )


class World:
    """A logging service and its surroundings."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock(NOON)
        self.peers = Peers(self.clock)  # type: ignore[abstract] # it answers what logging asks
        self.start()

    def start(self) -> None:
        """Starts the service, again if it ran: what it had in memory is gone."""
        self.service = wire(config(), self.clock, self.database, self.peers.connect)
        self.jobs = {job.name: job for job in self.service.jobs}
        self._server = InProcess(self.service)
        self.refresh()

    def refresh(self) -> None:
        """New leases and a heartbeat."""
        for name in ("replica:policies", "replica:rules", "ended_grants"):
            self.jobs[name].step()

    def travel(self, span: timedelta) -> None:
        """Moves the clock and renews the leases."""
        self.clock.advance(span)
        self.refresh()

    def jobs_of_a_wrong_clock(self, ahead: timedelta) -> dict[str, Job]:
        """The jobs of another process, whose clock is ahead by so much. It has polled, and so knows that it has no lease."""
        service = wire(config(), ManualClock(self.clock.now() + ahead), self.database, self.peers.connect)
        jobs = {job.name: job for job in service.jobs}
        for name in ("replica:policies", "replica:rules"):
            jobs[name].step()
        return jobs

    def _channel(self, caller: Caller) -> Any:
        return self._server.channel(caller, "logging")

    @property
    def ingest(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._channel(GATEWAY))

    @property
    def otlp_spans(self) -> Any:
        make: Any = trace_service_pb2_grpc.TraceServiceStub
        return make(self._channel(GATEWAY))

    @property
    def otlp_events(self) -> Any:
        make: Any = logs_service_pb2_grpc.LogsServiceStub
        return make(self._channel(GATEWAY))

    @property
    def lifecycle(self) -> Any:
        return lifecycle_pb2_grpc.LifecycleServiceStub(self._channel(RETENTION))

    @property
    def read(self) -> Any:
        return read_pb2_grpc.ReadServiceStub(self._channel(ENGINEER))

    def usage(self, caller: Caller = OPERATOR) -> Any:
        """Where usage is asked for, as an operator or somebody else."""
        return usage_pb2_grpc.UsageServiceStub(self._channel(caller))

    def record(self, *interactions: interactions_pb2.Interaction) -> list[ingest_pb2.Receipt]:
        """Sends one batch; the receipts."""
        requests = iter([ingest_pb2.RecordInteractionsRequest(interactions=interactions)])
        return [one for answer in self.ingest.RecordInteractions(requests) for one in answer.receipts]

    def interaction(
        self, organization_id: str = ORG, text: str = "hello", *, age: timedelta = timedelta(seconds=1)
    ) -> interactions_pb2.Interaction:
        """An interaction that was created `age` ago."""
        made = interactions_pb2.Interaction(
            record_id=new_record_id(self.clock.now() - age),
            organization_id=organization_id,
            application="assistant",
            model="m-1",
            end_user="u1",
            prompt_tokens=3,
        )
        made.content.prompt.add(role=interactions_pb2.MESSAGE_ROLE_USER).parts.add(text=text)
        return made


def at(text: str) -> datetime:
    """An instant, "YYYY-MM-DDTHH:MM:SS" in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

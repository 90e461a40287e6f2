"""The logging service, put together. All durable state is in its database: wiring it again gives the same service."""

from datetime import timedelta
from typing import cast

import grpc

from kept.access_control.v1 import audit_pb2_grpc, authz_pb2_grpc, keys_pb2_grpc
from kept.logging.v1 import (
    evaluation_texts_pb2_grpc,
    ingest_pb2_grpc,
    lifecycle_pb2_grpc,
    read_pb2_grpc,
    usage_pb2_grpc,
)
from kept.retention.v1 import rules_pb2_grpc
from kept.safety_review.v1 import log_rules_pb2_grpc, screening_pb2_grpc
from kept.settings.v1 import policies_pb2_grpc
from services.logging import replay, store
from services.logging.config import LoggingConfig
from services.logging.lifecycle.acts import Lifecycle
from services.logging.lifecycle.contents import ContentErasures
from services.logging.lifecycle.subjects import Subjects
from services.logging.otlp.exporting import Exporting
from services.logging.partitions import Partitions
from services.logging.policies import LoggingAuthority, Policies
from services.logging.reading.ended_grants import EndedGrants
from services.logging.reading.evaluation_texts import EvaluationTexts
from services.logging.reading.granted import Reading
from services.logging.recording.epoch_keys import EpochKeys
from services.logging.recording.ingest import Ingest
from services.logging.screening.asking import Asking
from services.logging.screening.backlog import Backlog
from services.logging.screening.feed import ScreeningFeed
from services.logging.screening.log_questions import LogQuestions
from services.logging.screening.rescreening import Rescreening
from services.logging.servicers.evaluation_texts import EvaluationTextServicer
from services.logging.servicers.ingest import IngestServicer
from services.logging.servicers.lifecycle import LifecycleServicer
from services.logging.servicers.otlp import add_otlp_servicers
from services.logging.servicers.read import ReadServicer
from services.logging.servicers.usage import UsageServicer
from services.logging.stored_figures import StoredFigures
from services.logging.usage.counting import Counting
from services.logging.usage.folding import Folding
from services.logging.usage.queries import Queries
from services.logging.usage.reports import Reports
from shared.callers import RemoteAuthority
from shared.clock import Clock
from shared.database import Database
from shared.ids import new_id
from shared.jobs import Job
from shared.outbox import Outbox
from shared.outbox.replay import Replay
from shared.service import Connect, Registrar, Service


def wire(config: LoggingConfig, clock: Clock, database: Database, connect: Connect) -> Service:
    """Builds the service. Starts nothing and asks nobody anything."""
    authz = authz_pb2_grpc.AuthzServiceStub(connect("access_control"))
    audit = audit_pb2_grpc.AuditServiceStub(connect("access_control"))
    keys = keys_pb2_grpc.KeyServiceStub(connect("access_control"))
    screen = screening_pb2_grpc.ScreeningServiceStub(connect("safety_review"))
    policies = Policies(
        policies_pb2_grpc.PolicyServiceStub(connect("settings")),
        rules_pb2_grpc.RuleServiceStub(connect("retention")),
        clock,
    )

    outbox = Outbox(store.outbox, database, clock, audit.AppendEntries, positions=store.audit_position)
    partitions = Partitions(database, clock, days_ahead=config.partition_days_ahead)
    epoch_keys = EpochKeys(keys, clock)
    asking = Asking(database, screen)
    patience = timedelta(seconds=config.screening_patience_seconds)
    feed = ScreeningFeed(clock, authz, asking, memory=config.screening_memory_bytes, patience=patience)
    backlog = Backlog(database, clock, policies, authz, asking, feed, patience=patience)
    rescreening = Rescreening(database, authz, screen, asking)
    log_questions = LogQuestions(database, log_rules_pb2_grpc.LogRuleServiceStub(connect("safety_review")))
    counting = Counting(database)
    reports = Reports(database, policies, counting)
    ingest = Ingest(
        database=database,
        clock=clock,
        policies=policies,
        partitions=partitions,
        epoch_keys=epoch_keys,
        feed=feed,
        writer=new_id("writer"),
    )
    exporting = Exporting(ingest, policies)
    ended = EndedGrants(authz, clock)
    reading = Reading(database, clock, policies.rules, authz, ended)
    evaluation_texts = EvaluationTexts(authz, reading)
    lifecycle = Lifecycle(database, clock, policies, outbox, counting.periods)
    subjects = Subjects(database, clock, policies, outbox)
    contents = ContentErasures(database, clock, policies, outbox)

    catching_up = Replay(
        "logging",
        store.audit_position,
        database,
        clock,
        outbox,
        audit.ListOwnEntries,
        replay.applies(counting.periods),
        replay.finish(database, keys.ListWithheldRecords),
    )

    def register(registrar: Registrar) -> None:
        server = cast(
            "grpc.Server", registrar
        )  # generated code asks a server for no more than a Registrar has
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestServicer(ingest, reports), server)
        add_otlp_servicers(exporting, registrar)
        usage_pb2_grpc.add_UsageServiceServicer_to_server(UsageServicer(Queries(database)), server)
        read_pb2_grpc.add_ReadServiceServicer_to_server(ReadServicer(reading), server)
        evaluation_texts_pb2_grpc.add_EvaluationTextServiceServicer_to_server(
            EvaluationTextServicer(evaluation_texts), server
        )
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server(
            LifecycleServicer(lifecycle, subjects, contents), server
        )

    remote = RemoteAuthority(authz)
    return Service(
        register=register,
        jobs=catching_up.guarding(
            [
                *policies.jobs,
                ended.job,
                ended.unread_job,
                partitions.job,
                epoch_keys.job,
                ingest.job,
                Job("usage", timedelta(seconds=1), policies.when_leased(Folding(database, counting).step)),
                Job("usage_periods", timedelta(minutes=1), policies.when_leased(counting.periods.close)),
                Job("reported_usage", timedelta(hours=1), policies.when_leased(reports.forget)),
                feed.job,
                backlog.job,
                rescreening.job,
                log_questions.job,
                StoredFigures(database).job,
                subjects.job,
                outbox.job,
            ]
        ),
        gate=catching_up,
        authority=LoggingAuthority(remote, policies),
        refused=remote.refused,
        leases=[policies.require_leases],
        parts={"audit_log": catching_up.is_open, "outbox": outbox.is_well},
    )

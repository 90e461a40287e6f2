"""Everything that the safety review service is made of, put together."""

from datetime import timedelta
from typing import cast

import grpc

from kept.access_control.v1 import audit_pb2_grpc, authz_pb2_grpc, evaluation_keys_pb2_grpc, keys_pb2_grpc
from kept.logging.v1 import evaluation_texts_pb2_grpc
from kept.retention.v1 import holds_pb2_grpc
from kept.safety_review.v1 import (
    cases_pb2_grpc,
    detectors_pb2_grpc,
    evaluation_pb2_grpc,
    lifecycle_pb2_grpc,
    log_rules_pb2_grpc,
    reports_pb2_grpc,
    screening_pb2_grpc,
)
from kept.scorer.v1 import scorer_pb2_grpc
from kept.settings.v1 import identifiers_pb2_grpc
from services.safety_review import replay, store
from services.safety_review.config import SafetyReviewConfig
from services.safety_review.detection.detectors import Detectors
from services.safety_review.detection.external import External
from services.safety_review.detection.in_force import Rules, tried
from services.safety_review.detection.matching import Matcher
from services.safety_review.detection.rescreening import Rescreenings
from services.safety_review.detection.rule_fields import RulesError
from services.safety_review.detection.screening import Screening
from services.safety_review.evaluation.evaluating import Evaluations
from services.safety_review.evaluation.masked_texts import MaskedTexts
from services.safety_review.evaluation.sets import EvaluationSets
from services.safety_review.lifecycle import Lifecycle
from services.safety_review.log_data.findings import LogFindings
from services.safety_review.log_data.questions import LogQuestions
from services.safety_review.notices import Notices
from services.safety_review.reviewing.appeals import Appeals
from services.safety_review.reviewing.extensions import HoldExtensions
from services.safety_review.reviewing.flags import Flags
from services.safety_review.reviewing.monthly_reports import MonthlyReports
from services.safety_review.reviewing.reopening import Reopening
from services.safety_review.reviewing.reports import Reports
from services.safety_review.reviewing.reviews import Reviews
from services.safety_review.servicers.cases import CaseServicer
from services.safety_review.servicers.detectors import DetectorServicer
from services.safety_review.servicers.evaluation import EvaluationServicer
from services.safety_review.servicers.lifecycle import LifecycleServicer
from services.safety_review.servicers.log_rules import LogRuleServicer
from services.safety_review.servicers.reports import ReportServicer
from services.safety_review.servicers.screening import ScreeningServicer
from shared.callers import RemoteAuthority
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.jobs import Job
from shared.organizations import require_by
from shared.outbox.replay import Replay
from shared.service import Connect, Registrar, Service
from shared.voices import voices_by


def wire(config: SafetyReviewConfig, clock: Clock, database: Database, connect: Connect) -> Service:
    """The service. Raises ConfigError when the rules file cannot be used."""
    matcher = _matcher(config)
    access_control = connect("access_control")
    authz = authz_pb2_grpc.AuthzServiceStub(access_control)
    audits = audit_pb2_grpc.AuditServiceStub(access_control)
    notices = Notices(
        database,
        clock,
        holds_pb2_grpc.HoldServiceStub(connect("retention")),
        authz,
        audits,
    )
    outbox = notices.outbox
    rules = Rules(database, clock, outbox, config.rules_file, matcher)
    external = External(config.scorers, lambda name: scorer_pb2_grpc.ScorerServiceStub(connect(name)), clock)
    hold_for = timedelta(days=config.flag_hold_days)
    flags = Flags(clock, outbox, hold_for)
    extensions = HoldExtensions(database, clock, outbox, hold_for)
    screening = Screening(database, clock, rules, external, flags)
    log_questions = LogQuestions(database, clock, rules)
    log_findings = LogFindings(database, clock, outbox, rules, flags)
    detectors = Detectors(database, rules, external)
    rescreenings = Rescreenings(database, clock, outbox, rules, require_by(authz))
    claim_for = timedelta(hours=config.claim_hours)
    reviews = Reviews(database, clock, outbox, voices_by(authz), claim_for, config.cases_a_day)
    keys = evaluation_keys_pb2_grpc.EvaluationKeyServiceStub(access_control)
    sets = EvaluationSets(
        database,
        clock,
        outbox,
        keys,
        identifiers_pb2_grpc.IdentifierServiceStub(connect("settings")),
        MaskedTexts(evaluation_texts_pb2_grpc.EvaluationTextServiceStub(connect("logging"))),
        config.evaluation_organizations,
    )
    evaluations = Evaluations(database, clock, outbox, keys, rules)
    monthly_reports = MonthlyReports(database, clock)
    reports = Reports(database, clock, outbox, flags, require_by(authz))
    appeals = Appeals(database, clock, outbox)
    reopening = Reopening(database, clock, outbox, flags)
    lifecycle = Lifecycle(database, clock, outbox)

    catching_up = Replay(
        "safety_review",
        store.audit_position,
        database,
        clock,
        outbox,
        audits.ListOwnEntries,
        replay.applies(outbox, lifecycle, flags),
        replay.finish(database, clock, keys_pb2_grpc.KeyServiceStub(access_control).ListWithheldRecords),
    )

    def register(registrar: Registrar) -> None:
        server = cast(grpc.Server, registrar)
        screening_pb2_grpc.add_ScreeningServiceServicer_to_server(
            ScreeningServicer(screening, rescreenings), server
        )
        cases_pb2_grpc.add_CaseServiceServicer_to_server(
            CaseServicer(reviews, reports, appeals, reopening), server
        )
        reports_pb2_grpc.add_ReportServiceServicer_to_server(ReportServicer(monthly_reports), server)
        evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(
            EvaluationServicer(sets, evaluations), server
        )
        detectors_pb2_grpc.add_DetectorServiceServicer_to_server(
            DetectorServicer(detectors, rescreenings), server
        )
        log_rules_pb2_grpc.add_LogRuleServiceServicer_to_server(
            LogRuleServicer(log_questions, log_findings), server
        )
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server(LifecycleServicer(lifecycle), server)

    remote = RemoteAuthority(authz)
    return Service(
        register=register,
        jobs=catching_up.guarding(
            [
                outbox.job,
                Job("rules", timedelta(seconds=5), rules.follow),
                Job("log_rules", timedelta(minutes=1), log_questions.watch),
                Job("old_verdicts", timedelta(minutes=10), screening.prune),
                Job("old_claims", timedelta(hours=6), monthly_reports.prune),
                Job("ended_evaluation_sets", timedelta(minutes=10), sets.sweep),
                Job("hold_extensions", timedelta(minutes=30), extensions.step),
                Job("ended_cases", timedelta(minutes=10), lifecycle.sweep),
            ]
        ),
        gate=catching_up,
        authority=remote,
        refused=remote.refused,
        parts={"audit_log": catching_up.is_open, "outbox": outbox.is_well},
    )


def _matcher(config: SafetyReviewConfig) -> Matcher:
    try:
        return tried(config.rules_file)
    except RulesError as error:
        raise ConfigError(f"rules_file: {error}", "docs/screening.md") from error

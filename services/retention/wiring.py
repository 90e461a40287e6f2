"""What the retention service is made of. Nothing here reads or writes the database; all durable state is in it."""

from datetime import timedelta
from typing import cast

import grpc

from kept.retention.v1 import (
    certificates_pb2_grpc,
    contracts_pb2_grpc,
    erasures_pb2_grpc,
    holds_pb2_grpc,
    rules_pb2_grpc,
    runs_pb2_grpc,
)
from services.retention import peers, replay, store
from services.retention.certificates import signing
from services.retention.certificates.certification import Certifier
from services.retention.config import RetentionConfig
from services.retention.erasures.contents import ContentErasures
from services.retention.erasures.organizations import Erasures
from services.retention.erasures.subjects import SubjectErasures
from services.retention.holds.keeping import HoldKeeper
from services.retention.notifications import Notifications
from services.retention.rules import RuleBook
from services.retention.runs.plans import Planner
from services.retention.runs.runs import Runs
from services.retention.runs.schedule import Schedule
from services.retention.servicers.certificates import CertificateServicer
from services.retention.servicers.contracts import ContractServicer
from services.retention.servicers.erasures import ErasureServicer
from services.retention.servicers.holds import HoldServicer
from services.retention.servicers.rules import RuleServicer
from services.retention.servicers.runs import RunServicer
from services.retention.terms.keeping import TermKeeper
from shared.callers import RemoteAuthority
from shared.change_feed import ChangeFeed
from shared.clock import Clock
from shared.database import Database
from shared.outbox import Outbox
from shared.outbox.replay import Replay
from shared.service import Connect, Registrar, Service
from shared.terms import Rule, Term, TermKind
from shared.webhooks import Webhook


def wire(config: RetentionConfig, clock: Clock, database: Database, connect: Connect) -> Service:
    """The service. Makes the signing key's file when there is none; raises ConfigError when it cannot be used."""
    key = signing.load_or_create(config.signing_key)
    others = peers.reach(connect)
    outbox = Outbox(store.outbox, database, clock, others.audit.AppendEntries, positions=store.audit_position)
    feed = ChangeFeed(store.rule_changes, database, clock)
    rules = RuleBook(
        feed,
        database,
        clock,
        outbox,
        Rule(Term(TermKind.AT_MOST, config.default_term_days), timedelta(hours=config.run_window_hours)),
    )
    certifier = Certifier(database, clock, outbox, others, key)
    webhooks = [Webhook(endpoint, store.outbox, database, clock) for endpoint in config.notifications]
    notifications = Notifications(clock, webhooks)
    holds = HoldKeeper(database, clock, outbox, others, notifications)
    runs = Runs(database, clock, outbox, others, rules, certifier)
    terms = TermKeeper(database, clock, outbox, others, rules, notifications)
    planner = Planner(database, others, rules)
    erasures = Erasures(database, clock, outbox, others, rules, certifier)
    subjects = SubjectErasures(database, clock, outbox, others, rules, certifier)
    contents = ContentErasures(database, clock, outbox, others, rules, certifier)
    schedule = Schedule(database, clock, others, rules, runs)

    catching_up = Replay(
        "retention",
        store.audit_position,
        database,
        clock,
        outbox,
        others.audit.ListOwnEntries,
        replay.applies(feed, rules),
        replay.finish(database, feed),
    )

    def register(registrar: Registrar) -> None:
        # Generated code asks for a whole server and uses these two methods of it.
        server = cast(grpc.Server, registrar)
        rules_pb2_grpc.add_RuleServiceServicer_to_server(RuleServicer(rules), server)
        contracts_pb2_grpc.add_ContractServiceServicer_to_server(ContractServicer(terms, database), server)
        holds_pb2_grpc.add_HoldServiceServicer_to_server(HoldServicer(holds, database), server)
        runs_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(runs, planner, database), server)
        erasures_pb2_grpc.add_ErasureServiceServicer_to_server(
            ErasureServicer(erasures, subjects, contents), server
        )
        certificates_pb2_grpc.add_CertificateServiceServicer_to_server(CertificateServicer(database), server)

    remote = RemoteAuthority(others.authz)
    return Service(
        register=register,
        jobs=catching_up.guarding(
            [
                rules.job,
                terms.job,
                holds.job,
                schedule.job,
                runs.job,
                erasures.job,
                subjects.job,
                contents.job,
                certifier.job,
                outbox.job,
                *(webhook.job for webhook in webhooks),
            ]
        ),
        gate=catching_up,
        authority=remote,
        refused=remote.refused,
        parts={
            "audit_log": catching_up.is_open,
            "outbox": lambda: outbox.is_well() and notifications.are_well(),
        },
    )

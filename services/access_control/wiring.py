"""Everything that access control is made of."""

from datetime import date
from typing import cast

import grpc

from kept.access_control.v1 import (
    audit_pb2_grpc,
    authz_pb2_grpc,
    directory_pb2_grpc,
    evaluation_keys_pb2_grpc,
    exports_pb2_grpc,
    grants_pb2_grpc,
    keys_pb2_grpc,
    lifecycle_pb2_grpc,
)
from kept.retention.v1 import rules_pb2_grpc
from kept.settings.v1 import policies_pb2_grpc, trust_pb2_grpc
from services.access_control.audit.decision_log import DecisionLog
from services.access_control.audit.exports import Exports
from services.access_control.audit.log import AuditLog
from services.access_control.authorization.authority import Authority
from services.access_control.authorization.policy import Authorization
from services.access_control.authorization.policy_reload import PolicyReload
from services.access_control.config import AccessControlConfig
from services.access_control.custody import Custody
from services.access_control.custody.evaluation_keys import EvaluationKeys
from services.access_control.figures import Figures
from services.access_control.grants.acts import GrantActs
from services.access_control.grants.asking import Asking
from services.access_control.grants.break_glass import BreakGlassReviews
from services.access_control.grants.cases import Cases
from services.access_control.grants.customer_approval import CustomerApproval
from services.access_control.grants.ended import EndedGrants, GrantWatch
from services.access_control.grants.granting import Granting
from services.access_control.grants.opening import Opening
from services.access_control.key_stores import KeyStoreError
from services.access_control.key_stores.configured import open_key_store
from services.access_control.notifications import Notifications
from services.access_control.organization_policies import Policies
from services.access_control.people.affiliations import Affiliations
from services.access_control.people.bootstrap import workforce_issuers
from services.access_control.people.directory import Directory
from services.access_control.people.identities import Identities
from services.access_control.people.listed_providers import ListedProviders
from services.access_control.people.providers import Providers
from services.access_control.people.reviews import Reviews
from services.access_control.people.tokens import Tokens, Verify
from services.access_control.servicers.audit import AuditServicer
from services.access_control.servicers.authz import AuthzServicer
from services.access_control.servicers.directory import DirectoryServicer
from services.access_control.servicers.evaluation_keys import EvaluationKeyServicer
from services.access_control.servicers.exports import ExportServicer
from services.access_control.servicers.grants import GrantServicer
from services.access_control.servicers.keys import KeyServicer
from services.access_control.servicers.lifecycle import LifecycleServicer
from shared.clock import Clock
from shared.config import ConfigError
from shared.database import Database
from shared.identity import TokenVerifier
from shared.rules import Rules
from shared.service import Connect, Registrar, Service


def wire(
    config: AccessControlConfig,
    clock: Clock,
    database: Database,
    connect: Connect,
    verify: Verify | None = None,
) -> Service:
    """The service; everything that lasts is in the database and the key store. verify: in the place of the issuers' tokens, where there
    is no issuer (the simulation). Raises ConfigError where database and key store do not belong together."""
    policies = Policies(policies_pb2_grpc.PolicyServiceStub(connect("settings")), clock)
    rules = Rules(rules_pb2_grpc.RuleServiceStub(connect("retention")), clock)

    def is_due(lot: str, day: date) -> bool:
        return clock.now() >= rules.due_at(lot, day)

    def has_own(organization_id: str, application: str) -> bool:
        return application in rules.applications(organization_id)

    try:
        key_store = open_key_store(config.key_store)
        audit_log = AuditLog(database, clock, key_store)
        audit_log.verify_at_start()
        custody = Custody(
            database,
            clock,
            key_store,
            audit_log,
            is_due=is_due,
            is_closed=policies.is_closed,
            is_erased_early=policies.is_erased_early,
            has_own=has_own,
            survivors_must_be_on=config.survivors_must_be_on,
        )
        custody.verify_at_start()
    except KeyStoreError as error:
        raise ConfigError(f"key_store: {error}", "docs/keys.md") from error

    authorization = Authorization()
    notifications = Notifications.configured(config.notifications, database, clock)
    decisions = DecisionLog(
        database, audit_log, clock, notifications, policy_set=lambda: authorization.policy_set
    )
    policy_reload = PolicyReload(database, clock, authorization, decisions, config.policies)
    policy_reload.start()
    tokens = Tokens(database, verify or TokenVerifier(config.issuers, clock).verify)
    customer_approval = CustomerApproval(policies)
    issuers = workforce_issuers(config)
    authority = Authority(database, clock, authorization, decisions, tokens, config.support_contact)
    directory = Directory(database, clock, decisions, issuers, config.review_terms, authority.may)
    identities = Identities(database, clock, decisions, issuers, authority.may)
    providers = Providers(database, clock, decisions, config.review_terms, authority.may)
    listed = ListedProviders(database, clock, decisions, trust_pb2_grpc.TrustServiceStub(connect("settings")))
    standing_reviews = Reviews(database, clock, decisions, config.review_terms)
    acts = GrantActs(clock, decisions, customer_approval)
    asking = Asking(database, clock, custody, authorization, decisions, customer_approval, acts)
    granting = Granting(database, clock, authorization, acts)
    reviews = BreakGlassReviews(database, clock, acts, decisions)
    opening = Opening(database, clock, custody, authorization, decisions, tokens, customer_approval, rules)
    cases = Cases(database, clock, decisions)
    ended_grants = EndedGrants(database, clock)
    affiliations = Affiliations(database, clock, decisions, policies.require_known)
    evaluation_keys = EvaluationKeys(database, clock, custody, decisions)

    def register(registrar: Registrar) -> None:
        server = cast(grpc.Server, registrar)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
            DirectoryServicer(directory, identities, providers, standing_reviews, affiliations, clock), server
        )
        grants_pb2_grpc.add_GrantServiceServicer_to_server(
            GrantServicer(asking, granting, reviews, GrantWatch(granting, clock)), server
        )
        authz_pb2_grpc.add_AuthzServiceServicer_to_server(
            AuthzServicer(authority, opening, ended_grants, cases, affiliations, policies), server
        )
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server(LifecycleServicer(directory), server)
        keys_pb2_grpc.add_KeyServiceServicer_to_server(KeyServicer(custody), server)
        evaluation_keys_pb2_grpc.add_EvaluationKeyServiceServicer_to_server(
            EvaluationKeyServicer(evaluation_keys), server
        )
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(audit_log), server)
        exports_pb2_grpc.add_ExportServiceServicer_to_server(
            ExportServicer(Exports(database, decisions)), server
        )

    return Service(
        register=register,
        jobs=[
            policies.job,
            rules.job,
            audit_log.job,
            audit_log.signing_keys.job,
            custody.job,
            evaluation_keys.job,
            reviews.job,
            standing_reviews.job,
            listed.job,
            policy_reload.job,
            *notifications.jobs,
            *Figures(database, clock).jobs,
        ],
        authority=authority,
        leases=[policies.require_lease, rules.require_lease],
        parts={"outbox": notifications.are_well},
        refused=authority.refused,
    )

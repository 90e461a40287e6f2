"""Everything that the settings service is made of."""

from datetime import timedelta
from typing import cast

import grpc

from kept.access_control.v1 import audit_pb2_grpc, authz_pb2_grpc, directory_pb2_grpc
from kept.retention.v1 import erasures_pb2_grpc
from kept.settings.v1 import (
    account_pb2_grpc,
    api_keys_pb2_grpc,
    data_controls_pb2_grpc,
    gateways_pb2_grpc,
    identifiers_pb2_grpc,
    lifecycle_pb2_grpc,
    members_pb2_grpc,
    organizations_pb2_grpc,
    policies_pb2_grpc,
    subject_requests_pb2_grpc,
    trust_pb2_grpc,
    zero_data_retention_pb2_grpc,
)
from services.settings import replay, store
from services.settings.accounts.email_changes import EmailChanges
from services.settings.accounts.invitations import Invitations
from services.settings.accounts.members import Members
from services.settings.accounts.password_resets import PasswordResets
from services.settings.accounts.passwords import Passwords
from services.settings.accounts.profiles import Profiles
from services.settings.accounts.sign_in_pace import SignInPace
from services.settings.accounts.sign_ins import SignIns
from services.settings.accounts.tokens import Tokens, keys_of
from services.settings.authority import SettingsAuthority
from services.settings.config import SettingsConfig
from services.settings.controls.assisted_opt_outs import AssistedOptOuts
from services.settings.controls.data_controls import DataControls
from services.settings.controls.watch import ControlsWatch
from services.settings.organizations.account_deletion import AccountDeletions
from services.settings.organizations.api_keys import ApiKeys
from services.settings.organizations.changes import OrganizationChanges
from services.settings.organizations.gateways import Gateways
from services.settings.organizations.lifecycle import Lifecycle
from services.settings.organizations.notification_addresses import NotificationAddresses
from services.settings.organizations.organization import Organizations
from services.settings.organizations.usage_agreements import UsageAgreements
from services.settings.policies import Policies
from services.settings.servicers.account import AccountServicer
from services.settings.servicers.api_keys import ApiKeyServicer
from services.settings.servicers.data_controls import DataControlsServicer
from services.settings.servicers.gateways import GatewayServicer
from services.settings.servicers.identifiers import IdentifierServicer
from services.settings.servicers.lifecycle import LifecycleServicer
from services.settings.servicers.members import MemberServicer
from services.settings.servicers.organizations import OrganizationServicer
from services.settings.servicers.policies import PolicyServicer
from services.settings.servicers.subject_requests import SubjectRequestServicer
from services.settings.servicers.trust import TrustServicer
from services.settings.servicers.zero_data_retention import ZeroDataRetentionServicer
from services.settings.sources import Sources
from services.settings.subjects.identifiers import NamesOfCustomers
from services.settings.subjects.requests import SubjectRequests
from services.settings.telling.deliveries import handlers
from services.settings.telling.mail import Mail
from services.settings.telling.notices import Notices
from services.settings.telling.notifications import Notifications
from services.settings.trust import terms_text
from services.settings.trust.documents import TrustDocuments
from services.settings.trust.public_pace import PublicLimits, PublicPace
from services.settings.trust.subprocessors import Subprocessors
from services.settings.trust.terms import Contacts, Terms
from services.settings.zero_data_retention import ZeroDataRetention, commitments
from services.settings.zero_data_retention.announcing import Announcer
from services.settings.zero_data_retention.ends import ZeroDataRetentionEnds
from shared.callers import RemoteAuthority, declared
from shared.change_feed import ChangeFeed
from shared.clock import Clock
from shared.database import Database
from shared.outbox import Outbox
from shared.outbox.replay import Replay
from shared.service import Connect, Registrar, Service
from shared.voices import voices_by
from shared.webhooks import Webhook


def wire(config: SettingsConfig, clock: Clock, database: Database, connect: Connect) -> Service:
    """The service; everything that lasts is in the database."""
    access_control, retention = connect("access_control"), connect("retention")
    erasures = erasures_pb2_grpc.ErasureServiceStub(retention)
    outbox = Outbox(
        store.outbox,
        database,
        clock,
        audit_pb2_grpc.AuditServiceStub(access_control).AppendEntries,
        handlers(
            directory_pb2_grpc.DirectoryServiceStub(access_control),
            erasures,
            lambda deletion_id, erasure_id: account_deletions.taken_over(deletion_id, erasure_id),
            lambda request_id, erasure_id: zero_data_retention.taken_over(request_id, erasure_id),
        ),
        positions=store.audit_position,
    )
    webhooks = [Webhook(endpoint, store.outbox, database, clock) for endpoint in config.notifications]
    notifications = Notifications(clock, webhooks)
    policies = Policies(ChangeFeed(store.policy_changes, database, clock))
    tokens = Tokens(keys_of(config.token_key_files, config.trust_domain))
    organizations = Organizations(database, clock, policies, outbox, tokens)
    usage_agreements = UsageAgreements(database)
    changes = OrganizationChanges(database, clock, policies, outbox)
    terms = Terms(
        database,
        clock,
        outbox,
        terms_text.load(),
        config.legal,
        Contacts(support=config.support_contact, privacy=config.privacy_contact),
    )
    notices = Notices(clock, webhooks)
    sources = Sources(config.hidden_sources)
    public = config.public_requests
    public_pace = PublicPace(
        database, clock, PublicLimits(public.by_source, public.by_address, public.altogether)
    )
    documents = TrustDocuments(
        database, clock, outbox, notices, public_pace, kept_for=timedelta(days=public.kept_days)
    )
    subprocessors = Subprocessors(database, clock, outbox, notices)
    gateways = Gateways(database, clock, policies, outbox)
    support = config.support_contact
    data_controls = DataControls(database, clock, policies, outbox, notifications, support=support)
    authz = authz_pb2_grpc.AuthzServiceStub(access_control)
    voices = voices_by(authz)
    opt_outs = AssistedOptOuts(database, clock, outbox, notifications, voices)
    addresses = NotificationAddresses(database, clock, outbox, support=support)
    announcer = Announcer(clock, outbox, notifications)
    zero_data_retention = ZeroDataRetention(
        database,
        clock,
        policies,
        outbox,
        commitments.load(),
        announcer,
        voices,
    )
    zdr_ends = ZeroDataRetentionEnds(
        database,
        clock,
        policies,
        announcer,
        voices,
        notice=timedelta(days=config.zero_data_retention_notice_days),
    )
    api_keys = ApiKeys(database, clock, outbox, keep_for=timedelta(seconds=config.api_key_answer_seconds))
    pace = SignInPace(database, clock)
    passwords = Passwords(config.password_hashing)
    invitations = Invitations(database, clock, outbox, tokens)
    members = Members(database, clock, outbox, passwords, tokens)
    sign_ins = SignIns(database, clock, passwords, pace, kept_days=config.sign_in_days)
    mail = Mail(config.mail, database, clock, tokens)
    profiles = Profiles(database, clock, outbox, passwords, sign_ins, mail)
    email_changes = EmailChanges(database, clock, outbox, profiles, tokens, mail)
    password_resets = PasswordResets(database, clock, outbox, passwords, tokens, mail)
    account_deletions = AccountDeletions(
        database, clock, outbox, notifications, grace=timedelta(days=config.account_deletion_grace_days)
    )
    promised = config.subject_request_days
    subject_requests = SubjectRequests(
        database,
        clock,
        outbox,
        notifications,
        erasures,
        promised=None if promised is None else timedelta(days=promised),
        reminders=[timedelta(days=days) for days in config.subject_request_reminder_days],
    )
    lifecycle = Lifecycle(database, clock, policies, outbox)
    audits = audit_pb2_grpc.AuditServiceStub(access_control)
    catching_up = Replay(
        "settings",
        store.audit_position,
        database,
        clock,
        outbox,
        audits.ListOwnEntries,
        replay.applies(policies, outbox, lifecycle, passwords),
        replay.finish(database, policies),
    )

    def register(registrar: Registrar) -> None:
        server = cast(grpc.Server, registrar)
        organizations_pb2_grpc.add_OrganizationServiceServicer_to_server(
            OrganizationServicer(organizations, changes, usage_agreements, terms, invitations), server
        )
        gateways_pb2_grpc.add_GatewayServiceServicer_to_server(GatewayServicer(gateways), server)
        api_keys_pb2_grpc.add_ApiKeyServiceServicer_to_server(ApiKeyServicer(api_keys), server)
        data_controls_pb2_grpc.add_DataControlsServiceServicer_to_server(
            DataControlsServicer(data_controls, ControlsWatch(database, data_controls), opt_outs, addresses),
            server,
        )
        zero_data_retention_pb2_grpc.add_ZeroDataRetentionServiceServicer_to_server(
            ZeroDataRetentionServicer(zero_data_retention, zdr_ends), server
        )
        members_pb2_grpc.add_MemberServiceServicer_to_server(
            MemberServicer(members, invitations, profiles, email_changes, password_resets, sign_ins, sources),
            server,
        )
        account_pb2_grpc.add_AccountServiceServicer_to_server(AccountServicer(account_deletions), server)
        trust_pb2_grpc.add_TrustServiceServicer_to_server(
            TrustServicer(
                terms, documents, subprocessors, sources, general_terms=config.legal.terms_of_use.link
            ),
            server,
        )
        policies_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyServicer(policies, data_controls), server)
        subject_requests_pb2_grpc.add_SubjectRequestServiceServicer_to_server(
            SubjectRequestServicer(subject_requests), server
        )
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server(LifecycleServicer(lifecycle), server)
        identifiers_pb2_grpc.add_IdentifierServiceServicer_to_server(
            IdentifierServicer(NamesOfCustomers(database)), server
        )

    remote = RemoteAuthority(authz)
    return Service(
        register=register,
        jobs=catching_up.guarding(
            [
                outbox.job,
                *mail.jobs,
                account_deletions.job,
                pace.job,
                subject_requests.job,
                *zdr_ends.jobs,
                sign_ins.job,
                password_resets.job,
                email_changes.job,
                invitations.job,
                public_pace.job,
                documents.job,
                subprocessors.job,
                *(webhook.job for webhook in webhooks),
            ]
        ),
        gate=catching_up,
        authority=SettingsAuthority(
            database,
            remote,
            declared,
            support=config.support_contact,
        ),
        refused=remote.refused,
        parts={
            "audit_log": catching_up.is_open,
            "outbox": lambda: outbox.is_well() and notices.are_well() and mail.is_well(),
        },
    )

"""The settings service in process, on a real database, with access control and retention played by what only writes down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Final, cast

import grpc
import pytest

from kept.access_control.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    authz_pb2,
    authz_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
)
from kept.errors.v1 import reasons_pb2
from kept.options.v1 import roles_pb2
from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from kept.settings.v1 import (
    account_pb2_grpc,
    api_keys_pb2_grpc,
    data_controls_pb2_grpc,
    gateways_pb2_grpc,
    lifecycle_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
    policies_pb2_grpc,
    subject_requests_pb2_grpc,
    trust_pb2_grpc,
    zero_data_retention_pb2_grpc,
)
from services.settings.config import PasswordHashing, SettingsConfig
from services.settings.wiring import wire
from shared.audit import require_own
from shared.callers import not_allowed
from shared.config import Tls
from shared.database import Database
from shared.errors import KeptError, peer_unavailable
from shared.identity import Caller, CallerKind
from shared.inprocess import InProcess
from shared.redaction import Secret
from shared.service import Registrar, Service
from tests.support.clocks import ManualClock
from tests.support.own_entries import listed

PASSWORD: Final = "correct horse battery"
ERASURE: Final = "erasure_" + "0" * 26


def person(number: int) -> str:
    """The id of one of the vendor's people."""
    return f"person_{number:026}"


@contextmanager
def refused(reason: "reasons_pb2.Reason.ValueType") -> Iterator[list[KeptError]]:
    """The block fails for this reason; the error lies in the list afterwards."""
    caught: list[KeptError] = []
    with pytest.raises(KeptError) as raised:
        yield caught
    assert raised.value.reason == reason, raised.value
    caught.append(raised.value)


class _Nobody:
    """The played services are called by services only."""

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise not_allowed(method)


@dataclass
class Peers(
    audit_pb2_grpc.AuditServiceServicer,
    authz_pb2_grpc.AuthzServiceServicer,
    directory_pb2_grpc.DirectoryServiceServicer,
    erasures_pb2_grpc.ErasureServiceServicer,
):
    """What access control and retention were told. Whoever's token is a person's id is that person."""

    entries: list[audit_pb2.AuditEntry] = field(default_factory=list)
    members: list[directory_pb2.SyncMemberRequest] = field(default_factory=list)
    erasures: list[erasures_pb2.EraseOrganizationRequest] = field(default_factory=list)
    # What retention was asked about end users; what it says of their erasure, or why it says nothing.
    subjects: list[erasures_pb2.EraseSubjectRequest] = field(default_factory=list)
    subject_erasure: erasures_pb2.Erasure = field(
        default_factory=lambda: erasures_pb2.Erasure(
            erasure_id=ERASURE, state=erasures_pb2.ERASURE_STATE_ERASING, subject_commitment=bytes(range(32))
        )
    )
    # Of content.
    contents: list[erasures_pb2.EraseContentRequest] = field(default_factory=list)
    failing: KeptError | None = None
    # Whether retention's answer about an end user gets lost on its way.
    losing: bool = False
    # People who were disabled, or have a role no more.
    lapsed: set[str] = field(default_factory=set)
    # Whether the audit log tells nobody of own entries.
    is_log_down: bool = False

    def Check(self, request: authz_pb2.CheckRequest, context: Any) -> authz_pb2.CheckResponse:
        return authz_pb2.CheckResponse(person_id=request.token)

    def CheckVoices(
        self, request: authz_pb2.CheckVoicesRequest, context: Any
    ) -> authz_pb2.CheckVoicesResponse:
        return authz_pb2.CheckVoicesResponse(
            person_ids=[one for one in request.person_ids if one not in self.lapsed]
        )

    def AppendEntries(
        self, request: audit_pb2.AppendEntriesRequest, context: Any
    ) -> audit_pb2.AppendEntriesResponse:
        require_own(request.entries, "settings")
        self.entries += request.entries
        return audit_pb2.AppendEntriesResponse(appended=len(request.entries), position=len(self.entries))

    def ListOwnEntries(
        self, request: audit_pb2.ListOwnEntriesRequest, context: Any
    ) -> audit_pb2.ListOwnEntriesResponse:
        if self.is_log_down:
            raise peer_unavailable("access_control")
        return listed(self.entries, request)

    def SyncMember(
        self, request: directory_pb2.SyncMemberRequest, context: Any
    ) -> directory_pb2.SyncMemberResponse:
        self.members.append(request)
        return directory_pb2.SyncMemberResponse()

    def EraseOrganization(
        self, request: erasures_pb2.EraseOrganizationRequest, context: Any
    ) -> erasures_pb2.EraseOrganizationResponse:
        self.erasures.append(request)
        return erasures_pb2.EraseOrganizationResponse(erasure=erasures_pb2.Erasure(erasure_id=ERASURE))

    def EraseSubject(
        self, request: erasures_pb2.EraseSubjectRequest, context: Any
    ) -> erasures_pb2.EraseSubjectResponse:
        if self.failing is not None:
            raise self.failing
        self.subjects.append(request)
        if self.losing:
            raise peer_unavailable("retention")
        return erasures_pb2.EraseSubjectResponse(erasure=self.subject_erasure, subject_salt=b"s" * 32)

    def EraseContent(
        self, request: erasures_pb2.EraseContentRequest, context: Any
    ) -> erasures_pb2.EraseContentResponse:
        if self.failing is not None:
            raise self.failing
        self.contents.append(request)
        if self.losing:
            raise peer_unavailable("retention")
        return erasures_pb2.EraseContentResponse(erasure=erasures_pb2.Erasure(erasure_id=ERASURE))

    def GetErasure(
        self, request: erasures_pb2.GetErasureRequest, context: Any
    ) -> erasures_pb2.GetErasureResponse:
        assert request.erasure_id == self.subject_erasure.erasure_id
        return erasures_pb2.GetErasureResponse(erasure=self.subject_erasure)

    def register(self, registrar: Registrar) -> None:
        """Adds all of them to a server."""
        server = cast(grpc.Server, registrar)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self, server)
        authz_pb2_grpc.add_AuthzServiceServicer_to_server(self, server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(self, server)
        erasures_pb2_grpc.add_ErasureServiceServicer_to_server(self, server)


class Stubs:
    """Every service of settings, called by one caller."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.organizations = organizations_pb2_grpc.OrganizationServiceStub(channel)
        self.gateways = gateways_pb2_grpc.GatewayServiceStub(channel)
        self.keys = api_keys_pb2_grpc.ApiKeyServiceStub(channel)
        self.controls = data_controls_pb2_grpc.DataControlsServiceStub(channel)
        self.zdr = zero_data_retention_pb2_grpc.ZeroDataRetentionServiceStub(channel)
        self.members = members_pb2_grpc.MemberServiceStub(channel)
        self.account = account_pb2_grpc.AccountServiceStub(channel)
        self.subjects = subject_requests_pb2_grpc.SubjectRequestServiceStub(channel)
        self.policies = policies_pb2_grpc.PolicyServiceStub(channel)
        self.trust = trust_pb2_grpc.TrustServiceStub(channel)
        self.lifecycle = lifecycle_pb2_grpc.LifecycleServiceStub(channel)


class World:
    """One settings service with everything around it. beside: one whose clock and peers it shares."""

    def __init__(
        self, url: str, *, grace_days: int = 14, beside: "World | None" = None, **configured: Any
    ) -> None:
        self.clock: ManualClock = ManualClock() if beside is None else beside.clock
        self.database = Database(url)
        own = Peers()  # type: ignore[abstract]  # the stubs ask for every method
        self.peers: Peers = own if beside is None else beside.peers
        self._url = url
        played = InProcess(Service(self.peers.register, (), _Nobody()))
        here = "127.0.0.1:1"
        config = SettingsConfig(
            environment="local",
            trust_domain="kept.test",
            services_address=here,
            people_address=here,
            health_address=here,
            metrics_address=here,
            database_url=url,  # type: ignore[arg-type]
            tls=Tls(certificate=Path("/"), key=Path("/"), authority=Path("/")),
            audience="kept:settings",
            account_deletion_grace_days=grace_days,
            **({"password_hashing": PasswordHashing(passes=1, memory_kib=8, lanes=1)} | configured),
            support_contact="help@vendor.test",
            privacy_contact="privacy@vendor.test",
        )
        settings = Caller(CallerKind.SERVICE, name="settings")
        self.service = wire(config, self.clock, self.database, lambda name: played.channel(settings, name))
        self._server = InProcess(self.service)

    def channel(self, caller: Caller) -> grpc.Channel:
        """To settings, as that caller."""
        return self._server.channel(caller, "settings")

    def _as(self, caller: Caller) -> Stubs:
        return Stubs(self.channel(caller))

    def staff(self, number: int = 1) -> Stubs:
        """One of the vendor's people."""
        return self._as(Caller(CallerKind.STAFF, subject=f"s{number}", token=Secret(person(number))))

    def peer(self, name: str) -> Stubs:
        """Another service."""
        return self._as(Caller(CallerKind.SERVICE, name=name))

    def gateway(self, name: str) -> Stubs:
        """A model gateway, registered or not."""
        return self._as(Caller(CallerKind.GATEWAY, name=name))

    def public(self) -> Stubs:
        """Nobody in particular."""
        return self._as(Caller(CallerKind.PUBLIC))

    def customer(self, member: members_pb2.Member, organization_id: str = "") -> Stubs:
        """A customer's person, with a token for that organization (the own one)."""
        return self._as(
            Caller(
                CallerKind.CUSTOMER,
                subject=member.member_id,
                organization_id=organization_id or member.organization_id,
            )
        )

    def run_jobs(self) -> None:
        """Every job of the service, until none has more to do."""
        for job in reversed(self.service.jobs):  # the outbox last, so that what jobs write is delivered
            while job.step():
                pass

    def during(self, statement: str, call: Callable[[], object]) -> object:
        """What `call` gives (or the KeptError it fails with) when another transaction has executed `statement` already and
        commits only once the call waits for it."""
        outcomes: list[object] = []

        def run() -> None:
            try:
                outcomes.append(call())
            except KeptError as error:
                outcomes.append(error)

        with self.database.engine.connect() as other:
            other.exec_driver_sql(statement)
            thread = Thread(target=run)
            thread.start()
            with self.database.engine.connect() as observer:
                waiting = False
                while thread.is_alive() and not waiting:
                    waiting = bool(
                        observer.exec_driver_sql(
                            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
                        ).scalar_one()
                    )
                    observer.rollback()
            assert waiting, "the call did not wait"
            other.commit()
            thread.join()
        return outcomes[0]

    def kinds(self, organization_id: str = "") -> list[str]:
        """Kinds of the audit entries on an organization, in order."""
        self.run_jobs()
        return [entry.kind for entry in self.peers.entries if entry.organization_id == organization_id]

    def organization(
        self,
        name: str = "acme",
        *,
        tier: "organizations_pb2.Tier.ValueType" = organizations_pb2.TIER_PAYING,
        deployment: "organizations_pb2.Deployment.ValueType" = organizations_pb2.DEPLOYMENT_SAAS,
        training_allowed: bool = True,
    ) -> organizations_pb2.CreateOrganizationResponse:
        """A new organization; its admin is admin@<name>.test."""
        return self.staff().organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=f"create-{name}",
                display_name=f"{name.title()} Ltd",
                tier=tier,
                deployment=deployment,
                admin_email=f"admin@{name}.test",
                sales_representative="sally@vendor.test",
                training_allowed=training_allowed,
            )
        )

    def register(self, token: str, first: str = "Ada", last: str = "Admin") -> members_pb2.Member:
        """Uses an invitation."""
        return (
            self.public()
            .members.RegisterMember(
                members_pb2.RegisterMemberRequest(
                    invitation_token=token, first_name=first, last_name=last, password=PASSWORD
                )
            )
            .member
        )

    def admin(self, name: str = "acme", **wanted: Any) -> members_pb2.Member:
        """The registered admin of a new organization."""
        return self.register(self.organization(name, **wanted).invitation_token)

    def colleague(self, admin: members_pb2.Member) -> members_pb2.Member:
        """A member without a role of that admin's organization."""
        invited = self.customer(admin).members.InviteMember(
            members_pb2.InviteMemberRequest(
                organization_id=admin.organization_id,
                email=f"m-{admin.email}",
                role=roles_pb2.CUSTOMER_ROLE_MEMBER,
            )
        )
        return self.register(invited.invitation_token, "Max", "Member")

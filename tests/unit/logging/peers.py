"""The services that logging calls, as small stand-ins that hold real keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from kept.access_control.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    authz_pb2,
    authz_pb2_grpc,
    grants_pb2,
    keys_pb2,
    keys_pb2_grpc,
)
from kept.options.v1 import roles_pb2
from kept.replica.v1 import lease_pb2
from kept.retention.v1 import rules_pb2, rules_pb2_grpc
from kept.safety_review.v1 import log_rules_pb2, log_rules_pb2_grpc, screening_pb2, screening_pb2_grpc
from kept.settings.v1 import organizations_pb2, policies_pb2, policies_pb2_grpc
from services.logging.sealing import SUITE, data_key_info, record_keys
from shared.audit import require_own
from shared.errors import KeptError, Reason, invalid, peer_unavailable
from shared.identity import Caller, CallerKind
from shared.ids import record_day
from shared.inprocess import InProcess
from shared.redaction import Secret
from shared.service import Registrar, Service
from shared.terms import lot_of
from tests.support.clocks import ManualClock
from tests.support.own_entries import listed

ORG, ZDR, PRIVATE, OTHER = (f"org_{letter * 26}" for letter in "azpx")
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
GRANT = "grant_" + "g" * 26
GATEWAY = Caller(CallerKind.GATEWAY, name="edge")
ENGINEER = Caller(CallerKind.STAFF, token=Secret("a-token"))
OPERATOR = Caller(CallerKind.STAFF, token=Secret("an-operators-token"))
RETENTION = Caller(CallerKind.SERVICE, name="retention")


def admin_of(organization_id: str) -> Caller:
    """An admin of a customer; `Check` goes by the token."""
    return Caller(CallerKind.CUSTOMER, organization_id=organization_id, token=Secret(organization_id))


def new_epoch_key() -> tuple[MLKEM768X25519PrivateKey, bytes]:
    """An epoch's private key, and its public half as access control hands it out."""
    kem, curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(kem, curve), public


class _Feed:
    """Changes of a feed, answered complete."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.changes: list[Any] = []

    def lease(self, since: int) -> lease_pb2.Lease:
        lease = lease_pb2.Lease(version=len(self.changes), complete=True, reset=since == 0)
        lease.answered_at.FromDatetime(self.clock.now())
        lease.duration.FromTimedelta(timedelta(seconds=2))
        return lease


class Peers(
    policies_pb2_grpc.PolicyServiceServicer,
    rules_pb2_grpc.RuleServiceServicer,
    authz_pb2_grpc.AuthzServiceServicer,
    keys_pb2_grpc.KeyServiceServicer,
    screening_pb2_grpc.ScreeningServiceServicer,
    log_rules_pb2_grpc.LogRuleServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
):
    """All of them in one. `down` holds names of methods that cannot be reached; `calls` names what was called, in order."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.denial: KeptError | None = None
        self.down: set[str] = set()
        self.calls: list[str] = []
        self.policies, self.rules = _Feed(clock), _Feed(clock)
        self.epochs: dict[tuple[str, date], MLKEM768X25519PrivateKey] = {}
        self.public: dict[tuple[str, date], bytes] = {}
        self.destroyed: set[tuple[str, date]] = set()
        self.scope = grants_pb2.DataScope(organization_id=ORG, detail=grants_pb2.DETAIL_FULL, budget=1000)
        self.expires_at = clock.now() + timedelta(hours=1)
        self.without_held = False
        self.budget = 1000
        self.most_opened = 2_000
        self.opened: set[bytes] = set()
        self.left_out: set[bytes] = set()
        self.opened_by: list[authz_pb2.OpenRecordsRequest] = []
        self.asked_for: list[tuple[str, str]] = []
        self.entries: list[str] = []
        self.ended: list[str] = []
        self.screened: list[bytes] = []
        self.rescreening = screening_pb2.TakeRescreeningResponse()
        self.reports: list[screening_pb2.ReportRescreeningRequest] = []
        self.verdict = screening_pb2.VERDICT_CLEAN
        # What screening says of single records, where it is another thing; and which it refuses.
        self.verdicts: dict[bytes, screening_pb2.Verdict.ValueType] = {}
        self.refused: set[bytes] = set()
        # Records over which a method stumbles: whoever asks it about one of them is told of a fault.
        self.stumbles: dict[str, set[bytes]] = {}
        self.question = log_rules_pb2.TakeLogQuestionResponse()
        self.answers: list[log_rules_pb2.AnswerLogQuestionRequest] = []
        self.audited: list[audit_pb2.AuditEntry] = []
        self.set_rule("", days=30)
        self.set_gateway("edge", everywhere=True)
        self.set_organization(ORG)
        self.set_organization(OTHER)
        self.set_organization(ZDR, zero_data_retention=True)
        self.set_organization(PRIVATE, deployment=organizations_pb2.DEPLOYMENT_PRIVATE)

    # What tests decide.

    def set_organization(
        self,
        organization_id: str,
        *,
        at: datetime | None = None,
        deployment: organizations_pb2.Deployment.ValueType = organizations_pb2.DEPLOYMENT_SAAS,
        zero_data_retention: bool = False,
        closed: bool = False,
        usage_agreed: bool = False,
        content_erased_before: datetime | None = None,
    ) -> None:
        policy = policies_pb2.OrganizationPolicy(
            organization_id=organization_id,
            deployment=deployment,
            zero_data_retention=zero_data_retention,
            closed=closed,
            usage_agreed=usage_agreed,
        )
        if content_erased_before is not None:
            policy.content_erased_before.FromDatetime(content_erased_before)
        self._change_policy(policies_pb2.PolicyChange(organization=policy), at)

    def set_gateway(
        self,
        name: str,
        *,
        everywhere: bool,
        organization_ids: Sequence[str] = (),
        at: datetime | None = None,
    ) -> None:
        policy = policies_pb2.GatewayPolicy(
            name=name, all_organizations=everywhere, organization_ids=organization_ids
        )
        self._change_policy(policies_pb2.PolicyChange(gateway=policy), at)

    def _change_policy(self, change: policies_pb2.PolicyChange, at: datetime | None) -> None:
        change.version = len(self.policies.changes) + 1
        change.effective_at.FromDatetime(at or NOON - timedelta(days=60))
        self.policies.changes.append(change)

    def set_rule(self, organization_id: str, *, days: int, at: datetime | None = None) -> None:
        change = rules_pb2.RuleChange(
            version=len(self.rules.changes) + 1,
            organization_id=organization_id,
            term=rules_pb2.Term(kind=rules_pb2.TERM_KIND_AT_MOST, days=days),
        )
        change.run_window.FromTimedelta(timedelta(hours=2))
        change.effective_at.FromDatetime(at or NOON - timedelta(days=60))
        self.rules.changes.append(change)

    def connect(self, service: str) -> grpc.Channel:
        caller = Caller(CallerKind.SERVICE, name="logging")
        return InProcess(Service(self._register, (), _NoPeople())).channel(caller, service)

    def _register(self, registrar: Registrar) -> None:
        server: Any = registrar
        policies_pb2_grpc.add_PolicyServiceServicer_to_server(self, server)
        rules_pb2_grpc.add_RuleServiceServicer_to_server(self, server)
        authz_pb2_grpc.add_AuthzServiceServicer_to_server(self, server)
        keys_pb2_grpc.add_KeyServiceServicer_to_server(self, server)
        screening_pb2_grpc.add_ScreeningServiceServicer_to_server(self, server)
        log_rules_pb2_grpc.add_LogRuleServiceServicer_to_server(self, server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self, server)

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if method in self.down:
            raise peer_unavailable("somebody")

    def _look_at(self, method: str, record_ids: Iterable[bytes]) -> None:
        if not self.stumbles.get(method, set()).isdisjoint(record_ids):
            raise KeptError(Reason.REASON_INTERNAL, "a fault")

    # Settings and retention.

    def ListPolicyChanges(
        self, request: policies_pb2.ListPolicyChangesRequest, context: grpc.ServicerContext
    ) -> policies_pb2.ListPolicyChangesResponse:
        self._called("ListPolicyChanges")
        return policies_pb2.ListPolicyChangesResponse(
            changes=self.policies.changes[request.since_version :],
            lease=self.policies.lease(request.since_version),
        )

    def ListRuleChanges(
        self, request: rules_pb2.ListRuleChangesRequest, context: grpc.ServicerContext
    ) -> rules_pb2.ListRuleChangesResponse:
        self._called("ListRuleChanges")
        return rules_pb2.ListRuleChangesResponse(
            changes=self.rules.changes[request.since_version :], lease=self.rules.lease(request.since_version)
        )

    # Access control.

    def Check(
        self, request: authz_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> authz_pb2.CheckResponse:
        self._called("Check")
        if request.token.startswith("org_"):
            return authz_pb2.CheckResponse(
                member_id="member_" + "m" * 26,
                organization_id=request.token,
                customer_role=roles_pb2.CUSTOMER_ROLE_ADMIN,
            )
        return authz_pb2.CheckResponse(person_id="person_" + "e" * 26)

    def GetEpochKey(
        self, request: keys_pb2.GetEpochKeyRequest, context: grpc.ServicerContext
    ) -> keys_pb2.GetEpochKeyResponse:
        self._called("GetEpochKey")
        lot = lot_of(request.organization_id, request.application)
        place = (lot, date.fromisoformat(request.day))
        if place in self.destroyed:
            raise KeptError(Reason.REASON_KEY_DESTROYED, "destroyed")
        if place not in self.epochs:
            self.epochs[place], self.public[place] = new_epoch_key()
        return keys_pb2.GetEpochKeyResponse(epoch_key_id="epoch_" + "e" * 26, public_key=self.public[place])

    def Authorize(
        self, request: authz_pb2.AuthorizeRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizeResponse:
        self._called("Authorize")
        if self.denial is not None:
            raise self.denial
        if request.grant_id != GRANT:
            raise KeptError(Reason.REASON_GRANT_REQUIRED, "no grant")
        answer = authz_pb2.AuthorizeResponse(
            scope=self.scope, remaining=self.budget - len(self.opened), without_held=self.without_held
        )
        answer.expires_at.FromDatetime(self.expires_at)
        return answer

    def AuthorizePermission(
        self, request: authz_pb2.AuthorizePermissionRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizePermissionResponse:
        self._called("AuthorizePermission")
        self.asked_for.append((request.grant_id, request.person_id))
        if self.denial is not None:
            raise self.denial
        if request.grant_id != GRANT:
            raise KeptError(Reason.REASON_GRANT_REQUIRED, "no grant")
        answer = authz_pb2.AuthorizePermissionResponse(scope=self.scope, remaining=self.budget)
        answer.expires_at.FromDatetime(self.expires_at)
        return answer

    def OpenRecords(
        self, request: authz_pb2.OpenRecordsRequest, context: grpc.ServicerContext
    ) -> authz_pb2.OpenRecordsResponse:
        self._called("OpenRecords")
        ids = {one.record_id for one in request.records}
        self._look_at("OpenRecords", ids)
        covered = set(self.scope.record_ids)
        if covered and not ids <= covered:
            raise KeptError(Reason.REASON_OUTSIDE_SCOPE, "outside")
        if len(ids) > self.most_opened:
            raise invalid("records", "are too many")
        if len(self.opened | ids) > self.budget:
            raise KeptError(Reason.REASON_BUDGET_EXHAUSTED, "budget")
        self.opened_by.append(request)
        left_out = self.left_out & ids if request.leave_out_gone else set[bytes]()
        ids -= left_out
        self.opened |= ids
        self.entries += [str(uuid.UUID(bytes=one)) for one in sorted(ids)]
        sealed = {one.data_key_id: one for one in request.data_keys}
        answer = authz_pb2.OpenRecordsResponse(left_out_record_ids=sorted(left_out))
        for one in request.records:
            if one.record_id in left_out:
                continue
            if request.detail == grants_pb2.DETAIL_METADATA or not one.data_key_id:
                continue
            day = record_day(one.record_id)
            data_key = sealed[one.data_key_id]
            info = data_key_info(request.organization_id, day, one.data_key_id, data_key.application)
            private = self.epochs[lot_of(request.organization_id, data_key.application), day]
            key = SUITE.decrypt(data_key.sealed, private, info=info)
            answer.keys.add(record_id=one.record_id, key=record_keys(key)(one.record_id))
        return answer

    def AuthorizeScreening(
        self, request: authz_pb2.AuthorizeScreeningRequest, context: grpc.ServicerContext
    ) -> authz_pb2.AuthorizeScreeningResponse:
        self._called("AuthorizeScreening")
        self._look_at("AuthorizeScreening", (one for batch in request.batches for one in batch.record_ids))
        return authz_pb2.AuthorizeScreeningResponse()

    def WatchEndedGrants(
        self, request: authz_pb2.WatchEndedGrantsRequest, context: grpc.ServicerContext
    ) -> Iterator[authz_pb2.WatchEndedGrantsResponse]:
        self._called("WatchEndedGrants")
        while "WatchEndedGrants" not in self.down:
            ended, self.ended = self.ended, []
            yield authz_pb2.WatchEndedGrantsResponse(grant_ids=ended)
        raise peer_unavailable("access_control")

    def AppendEntries(
        self, request: audit_pb2.AppendEntriesRequest, context: grpc.ServicerContext
    ) -> audit_pb2.AppendEntriesResponse:
        self._called("AppendEntries")
        require_own(request.entries, "logging")
        self.audited.extend(request.entries)
        return audit_pb2.AppendEntriesResponse(position=len(self.audited))

    def ListWithheldRecords(
        self, request: keys_pb2.ListWithheldRecordsRequest, context: grpc.ServicerContext
    ) -> keys_pb2.ListWithheldRecordsResponse:
        return keys_pb2.ListWithheldRecordsResponse()

    def ListOwnEntries(
        self, request: audit_pb2.ListOwnEntriesRequest, context: grpc.ServicerContext
    ) -> audit_pb2.ListOwnEntriesResponse:
        return listed(self.audited, request)

    # Safety review.

    def TakeRescreening(
        self, request: screening_pb2.TakeRescreeningRequest, context: grpc.ServicerContext
    ) -> screening_pb2.TakeRescreeningResponse:
        self._called("TakeRescreening")
        return self.rescreening

    def ReportRescreening(
        self, request: screening_pb2.ReportRescreeningRequest, context: grpc.ServicerContext
    ) -> screening_pb2.ReportRescreeningResponse:
        self._called("ReportRescreening")
        self.reports.append(request)
        if request.done or request.problem:
            self.rescreening = screening_pb2.TakeRescreeningResponse()
        else:
            self.rescreening.after = request.after
        return screening_pb2.ReportRescreeningResponse()

    def TakeLogQuestion(
        self, request: log_rules_pb2.TakeLogQuestionRequest, context: grpc.ServicerContext
    ) -> log_rules_pb2.TakeLogQuestionResponse:
        self._called("TakeLogQuestion")
        return self.question

    def AnswerLogQuestion(
        self, request: log_rules_pb2.AnswerLogQuestionRequest, context: grpc.ServicerContext
    ) -> log_rules_pb2.AnswerLogQuestionResponse:
        self._called("AnswerLogQuestion")
        self.answers.append(request)
        if request.done:
            self.question = log_rules_pb2.TakeLogQuestionResponse()
        return log_rules_pb2.AnswerLogQuestionResponse()

    def Screen(
        self, request_iterator: Iterator[screening_pb2.ScreenRequest], context: grpc.ServicerContext
    ) -> Iterator[screening_pb2.ScreenResponse]:
        self._called("Screen")
        for request in request_iterator:
            ids = [one.record_id for one in request.interactions]
            self._look_at("Screen", ids)
            if self.refused & set(ids):
                raise KeptError(Reason.REASON_INVALID_ARGUMENT, "refused")
            self.screened += ids
            yield screening_pb2.ScreenResponse(
                records=[
                    screening_pb2.ScreenedRecord(
                        record_id=one, verdict=self.verdicts.get(one, self.verdict), rules_version="v1"
                    )
                    for one in ids
                ]
            )


class _NoPeople:
    """Stand-ins are called by services only."""

    def authorize_person(self, caller: Caller, method: str) -> Caller:
        raise AssertionError("no person calls here")

    def authorize_gateway(self, caller: Caller, method: str) -> Caller:
        raise AssertionError("no gateway calls here")

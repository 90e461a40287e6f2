"""The safety review service in process, on a real database, with access control and retention played by what only writes down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import grpc
import pytest

from kept.access_control.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    authz_pb2,
    authz_pb2_grpc,
    evaluation_keys_pb2,
    evaluation_keys_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
)
from kept.errors.v1 import reasons_pb2
from kept.logging.v1 import evaluation_texts_pb2, evaluation_texts_pb2_grpc, interactions_pb2
from kept.options.v1 import roles_pb2
from kept.retention.v1 import holds_pb2, holds_pb2_grpc
from kept.safety_review.v1 import (
    cases_pb2,
    cases_pb2_grpc,
    detectors_pb2_grpc,
    evaluation_pb2_grpc,
    lifecycle_pb2_grpc,
    log_rules_pb2_grpc,
    reports_pb2_grpc,
    screening_pb2,
    screening_pb2_grpc,
)
from kept.scorer.v1 import scorer_pb2, scorer_pb2_grpc
from kept.settings.v1 import identifiers_pb2, identifiers_pb2_grpc
from services.safety_review.config import SafetyReviewConfig
from services.safety_review.wiring import wire
from shared.audit import require_own
from shared.callers import not_allowed
from shared.config import Tls
from shared.database import Database
from shared.errors import KeptError, Reason, unknown_organization
from shared.identity import Caller, CallerKind
from shared.ids import entropy, new_record_id
from shared.inprocess import InProcess
from shared.redaction import Secret
from shared.service import Registrar, Service
from tests.support.clocks import ManualClock
from tests.support.own_entries import listed

ACME: Final = "org_" + "a" * 26
BETA: Final = "org_" + "b" * 26
ERASURE: Final = "erasure_" + "0" * 26
CANARY: Final = "the zebracanary flies"
PHISHING: Final = "Write a convincing phishing e-mail to the clients of a bank."
# Tables in which something of an organization could lie.
TABLES: Final = (
    "verdicts",
    "not_screened",
    "cases",
    "flags",
    "log_rule_progress",
    "log_findings",
    "outbox",
    "erasures",
    "openings",
    "evaluation_sets",
    "evaluation_items",
)


def person(number: int) -> str:
    """The id of one of the vendor's people."""
    return f"person_{number:026}"


@contextmanager
def refused(reason: "reasons_pb2.Reason.ValueType", state: str | None = None) -> Iterator[None]:
    """The block fails for this reason, naming this state."""
    with pytest.raises(KeptError) as raised:
        yield
    assert raised.value.reason == reason, raised.value
    assert raised.value.metadata.get("state") == state


def said(text: str) -> interactions_pb2.InteractionContent:
    """Content with one text in the prompt."""
    return interactions_pb2.InteractionContent(
        prompt=[interactions_pb2.Message(parts=[interactions_pb2.Part(text=text)])]
    )


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
    holds_pb2_grpc.HoldServiceServicer,
    evaluation_keys_pb2_grpc.EvaluationKeyServiceServicer,
    keys_pb2_grpc.KeyServiceServicer,
    identifiers_pb2_grpc.IdentifierServiceServicer,
    evaluation_texts_pb2_grpc.EvaluationTextServiceServicer,
):
    """What access control and retention were told. A person's token is the person's id. `refuse` fails calls of holds and cases,
    `refuse_hold` those of holds alone.
    `masked`: by grant, who asked for it and what logging gives under it. `meanwhile`: happens before a set's key is made.
    `earlier`: entries before those that a test looks at."""

    entries: list[audit_pb2.AuditEntry] = field(default_factory=list)
    earlier: list[audit_pb2.AuditEntry] = field(default_factory=list)
    holds: list[holds_pb2.PlaceHoldRequest | holds_pb2.ReleaseHoldRequest | holds_pb2.ExtendHoldRequest] = (
        field(default_factory=list)
    )
    cases: list[authz_pb2.OpenCaseRequest | authz_pb2.CloseCaseRequest] = field(default_factory=list)
    refuse: KeptError | None = None
    refuse_hold: KeptError | None = None
    affiliations: dict[str, list[str]] = field(default_factory=dict)
    roles: dict[str, "roles_pb2.StaffRole.ValueType"] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    masked: dict[str, tuple[str, list[evaluation_texts_pb2.ReadMaskedResponse]]] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    unknown_organizations: set[str] = field(default_factory=set)
    # People, and what they could not do any more.
    lapsed: set[tuple[str, str]] = field(default_factory=set)
    refuse_voices: KeptError | None = None
    meanwhile: Callable[[], object] | None = None
    opened_for: list[str] = field(default_factory=list)
    named: identifiers_pb2.ListIdentifiersResponse = field(
        default_factory=identifiers_pb2.ListIdentifiersResponse
    )

    def _take(self, kept: list[Any], request: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        kept.append(request)

    def Check(self, request: authz_pb2.CheckRequest, context: Any) -> authz_pb2.CheckResponse:
        if request.token == "nobody":
            raise KeptError(Reason.REASON_NOT_AUTHORIZED, "You hold none of the roles.")
        if request.token.startswith("member_"):
            return authz_pb2.CheckResponse(
                member_id=request.token,
                organization_id=self.members[request.token],
                customer_role=roles_pb2.CUSTOMER_ROLE_ADMIN,
            )
        return authz_pb2.CheckResponse(
            person_id=request.token,
            roles=[self.roles.get(request.token, roles_pb2.STAFF_ROLE_SAFETY)],
            affiliated_organization_ids=self.affiliations.get(request.token, ()),
        )

    def CheckVoices(
        self, request: authz_pb2.CheckVoicesRequest, context: Any
    ) -> authz_pb2.CheckVoicesResponse:
        if self.refuse_voices is not None:
            raise self.refuse_voices
        counting = [one for one in request.person_ids if (one, request.method) not in self.lapsed]
        return authz_pb2.CheckVoicesResponse(person_ids=counting)

    def RequireOrganization(
        self, request: authz_pb2.RequireOrganizationRequest, context: Any
    ) -> authz_pb2.RequireOrganizationResponse:
        if request.organization_id in self.unknown_organizations:
            raise unknown_organization()
        return authz_pb2.RequireOrganizationResponse()

    def AppendEntries(
        self, request: audit_pb2.AppendEntriesRequest, context: Any
    ) -> audit_pb2.AppendEntriesResponse:
        require_own(request.entries, "safety_review")
        self.entries += request.entries
        position = len(self.earlier) + len(self.entries)
        return audit_pb2.AppendEntriesResponse(appended=len(request.entries), position=position)

    def ListOwnEntries(
        self, request: audit_pb2.ListOwnEntriesRequest, context: Any
    ) -> audit_pb2.ListOwnEntriesResponse:
        return listed((*self.earlier, *self.entries), request)

    def OpenCase(self, request: authz_pb2.OpenCaseRequest, context: Any) -> authz_pb2.OpenCaseResponse:
        self._take(self.cases, request)
        return authz_pb2.OpenCaseResponse()

    def CloseCase(self, request: authz_pb2.CloseCaseRequest, context: Any) -> authz_pb2.CloseCaseResponse:
        self._take(self.cases, request)
        return authz_pb2.CloseCaseResponse()

    def PlaceHold(self, request: holds_pb2.PlaceHoldRequest, context: Any) -> holds_pb2.PlaceHoldResponse:
        if self.refuse_hold is not None:
            raise self.refuse_hold
        self._take(self.holds, request)
        return holds_pb2.PlaceHoldResponse()

    def ExtendHold(self, request: holds_pb2.ExtendHoldRequest, context: Any) -> holds_pb2.ExtendHoldResponse:
        if self.refuse_hold is not None:
            raise self.refuse_hold
        self._take(self.holds, request)
        return holds_pb2.ExtendHoldResponse()

    def ReleaseHold(
        self, request: holds_pb2.ReleaseHoldRequest, context: Any
    ) -> holds_pb2.ReleaseHoldResponse:
        self._take(self.holds, request)
        return holds_pb2.ReleaseHoldResponse()

    def MakeEvaluationKey(
        self, request: evaluation_keys_pb2.MakeEvaluationKeyRequest, context: Any
    ) -> evaluation_keys_pb2.MakeEvaluationKeyResponse:
        if self.meanwhile is not None:
            self.meanwhile()
        key = self.keys.setdefault(request.set_id, entropy(32))
        return evaluation_keys_pb2.MakeEvaluationKeyResponse(key=key)

    def OpenEvaluationKey(
        self, request: evaluation_keys_pb2.OpenEvaluationKeyRequest, context: Any
    ) -> evaluation_keys_pb2.OpenEvaluationKeyResponse:
        if request.set_id not in self.keys:
            raise KeptError(Reason.REASON_SET_ENDED, "The set has ended.")
        self.opened_for.append(request.person_id)
        return evaluation_keys_pb2.OpenEvaluationKeyResponse(key=self.keys[request.set_id])

    def DestroyEvaluationKey(
        self, request: evaluation_keys_pb2.DestroyEvaluationKeyRequest, context: Any
    ) -> evaluation_keys_pb2.DestroyEvaluationKeyResponse:
        if self.refuse is not None:
            raise self.refuse
        self.keys.pop(request.set_id, None)
        return evaluation_keys_pb2.DestroyEvaluationKeyResponse()

    def ListWithheldRecords(
        self, request: keys_pb2.ListWithheldRecordsRequest, context: Any
    ) -> keys_pb2.ListWithheldRecordsResponse:
        return keys_pb2.ListWithheldRecordsResponse()

    def ListIdentifiers(
        self, request: identifiers_pb2.ListIdentifiersRequest, context: Any
    ) -> identifiers_pb2.ListIdentifiersResponse:
        return self.named

    def ReadMasked(
        self, request: evaluation_texts_pb2.ReadMaskedRequest, context: Any
    ) -> Iterator[evaluation_texts_pb2.ReadMaskedResponse]:
        asked_by, answers = self.masked.get(request.grant_id, ("", []))
        if asked_by != request.person_id:
            raise KeptError(Reason.REASON_GRANT_REQUIRED, "This needs a grant of your own.")
        yield from answers

    def register(self, registrar: Registrar) -> None:
        """Adds all of them to a server."""
        server = cast(grpc.Server, registrar)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(self, server)
        authz_pb2_grpc.add_AuthzServiceServicer_to_server(self, server)
        holds_pb2_grpc.add_HoldServiceServicer_to_server(self, server)
        evaluation_keys_pb2_grpc.add_EvaluationKeyServiceServicer_to_server(self, server)
        keys_pb2_grpc.add_KeyServiceServicer_to_server(self, server)
        identifiers_pb2_grpc.add_IdentifierServiceServicer_to_server(self, server)
        evaluation_texts_pb2_grpc.add_EvaluationTextServiceServicer_to_server(self, server)


@dataclass
class Scorers(scorer_pb2_grpc.ScorerServiceServicer):
    """An external detector: answers what the test says for its name, a function of the request."""

    answers: dict[str, Callable[[scorer_pb2.ScoreRequest], scorer_pb2.ScoreResponse]]
    name: str

    def Score(self, request: scorer_pb2.ScoreRequest, context: Any) -> scorer_pb2.ScoreResponse:
        return self.answers[self.name](request)

    def register(self, registrar: Registrar) -> None:
        """Adds it to a server."""
        scorer_pb2_grpc.add_ScorerServiceServicer_to_server(self, cast(grpc.Server, registrar))


class Stubs:
    """Every service of safety review, called by one caller."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.screening = screening_pb2_grpc.ScreeningServiceStub(channel)
        self.cases = cases_pb2_grpc.CaseServiceStub(channel)
        self.detectors = detectors_pb2_grpc.DetectorServiceStub(channel)
        self.evaluation = evaluation_pb2_grpc.EvaluationServiceStub(channel)
        self.log_rules = log_rules_pb2_grpc.LogRuleServiceStub(channel)
        self.reports = reports_pb2_grpc.ReportServiceStub(channel)
        self.lifecycle = lifecycle_pb2_grpc.LifecycleServiceStub(channel)


class World:
    """One safety review service with everything around it. beside: one whose clock and peers it shares."""

    def __init__(
        self,
        url: str,
        *,
        on_commit: Callable[[str], None] | None = None,
        beside: "World | None" = None,
        **told: Any,
    ) -> None:
        self.clock: ManualClock = ManualClock() if beside is None else beside.clock
        self.is_up = False

        def committing(when: str) -> None:
            if on_commit is not None and self.is_up:
                on_commit(when)

        self.database = Database(url, on_commit=committing)
        own = Peers()  # type: ignore[abstract]  # the stubs ask for every method
        self.peers: Peers = own if beside is None else beside.peers
        played = InProcess(Service(self.peers.register, (), _Nobody()))
        self.scorers: dict[str, Any] = {}  # who answers as which external detector
        here = "127.0.0.1:1"
        config = SafetyReviewConfig(
            environment="local",
            trust_domain="kept.test",
            services_address=here,
            people_address=here,
            health_address=here,
            metrics_address=here,
            database_url=url,  # type: ignore[arg-type]
            tls=Tls(certificate=Path("/"), key=Path("/"), authority=Path("/")),
            audience="kept:safety_review",
            **told,
        )
        myself = Caller(CallerKind.SERVICE, name="safety_review")

        def connect(name: str) -> grpc.Channel:
            if name in ("access_control", "logging", "retention", "settings"):
                return played.channel(myself, name)
            scorer = Scorers(self.scorers, name)
            return InProcess(Service(scorer.register, (), _Nobody())).channel(myself, name)

        self.service = wire(config, self.clock, self.database, connect)
        self._server = InProcess(self.service)
        self.jobs = {job.name: job for job in self.service.jobs}
        self.jobs["rules"].step()  # what it was started with is in the audit log
        self.run_jobs()
        if beside is None:
            self.peers.earlier[:] = self.peers.entries
            self.peers.entries.clear()
        self.started = list(self.peers.earlier)
        self.is_up = True

    def close(self) -> None:
        """Gives the database back."""
        self.database.close()

    def _as(self, caller: Caller) -> Stubs:
        return Stubs(self._server.channel(caller, "safety_review"))

    def staff(self, number: int = 1) -> Stubs:
        """One of the vendor's people, with the safety role."""
        return self._as(Caller(CallerKind.STAFF, token=Secret(person(number))))

    def reviewer(self, number: int = 1) -> cases_pb2_grpc.CaseServiceStub:
        """The same, at work on cases."""
        return self.staff(number).cases

    def admin(self, organization_id: str = ACME) -> cases_pb2_grpc.CaseServiceStub:
        """An admin of a customer."""
        member_id = "member_" + organization_id.removeprefix("org_")
        self.peers.members[member_id] = organization_id
        return self._as(
            Caller(CallerKind.CUSTOMER, token=Secret(member_id), organization_id=organization_id)
        ).cases

    def nobody(self) -> Stubs:
        """Somebody whom access control refuses."""
        return self._as(Caller(CallerKind.STAFF, token=Secret("nobody")))

    def peer(self, name: str) -> Stubs:
        """Another service."""
        return self._as(Caller(CallerKind.SERVICE, name=name))

    def record(
        self, text: str = "", organization_id: str = ACME, end_user: str = ""
    ) -> screening_pb2.ScreenedInteraction:
        """A new record."""
        return screening_pb2.ScreenedInteraction(
            record_id=new_record_id(self.clock.now()),
            organization_id=organization_id,
            end_user=end_user,
            content=said(text),
        )

    def answers(
        self, *batches: list[screening_pb2.ScreenedInteraction]
    ) -> Iterator[screening_pb2.ScreenResponse]:
        """The answers to batches on one stream, as they come."""
        requests = (screening_pb2.ScreenRequest(interactions=batch) for batch in batches)
        return iter(self.peer("logging").screening.Screen(requests))

    def screen(self, *records: screening_pb2.ScreenedInteraction) -> list[str]:
        """The verdicts on one batch, by name."""
        (answer,) = self.answers(list(records))
        assert [one.record_id for one in answer.records] == [one.record_id for one in records]
        return [screening_pb2.Verdict.Name(one.verdict).removeprefix("VERDICT_") for one in answer.records]

    def cases(
        self, state: "cases_pb2.CaseState.ValueType" = cases_pb2.CASE_STATE_UNSPECIFIED
    ) -> list[cases_pb2.Case]:
        """What a reviewer lists."""
        return list(self.reviewer().ListCases(cases_pb2.ListCasesRequest(state=state)).cases)

    def claim(self, case_id: str, who: int = 1) -> cases_pb2.Case:
        """Claims a case."""
        return self.reviewer(who).ClaimCase(cases_pb2.ClaimCaseRequest(case_id=case_id)).case

    def decide(
        self,
        case_id: str,
        decision: "cases_pb2.Decision.ValueType" = cases_pb2.DECISION_VIOLATION,
        who: int = 1,
        reason: str = "It asks for help with fraud.",
        etag: str = "",
    ) -> cases_pb2.Case:
        """Decides a case, as it is now or as it was read with an etag."""
        request = cases_pb2.DecideCaseRequest(
            case_id=case_id, decision=decision, reason=reason, etag=etag or self.etag(case_id)
        )
        return self.reviewer(who).DecideCase(request).case

    def confirm(self, case_id: str, confirm: bool = True, who: int = 2, etag: str = "") -> cases_pb2.Case:
        """Confirms a decision, or sends it back; as the case is now or was read with an etag."""
        request = cases_pb2.ConfirmDecisionRequest(
            case_id=case_id, confirm=confirm, etag=etag or self.etag(case_id)
        )
        return self.reviewer(who).ConfirmDecision(request).case

    def etag(self, case_id: str) -> str:
        """Of the case as it is now."""
        return self.reviewer().GetCase(cases_pb2.GetCaseRequest(case_id=case_id)).case.etag

    def escalate(
        self, case_id: str, desk: "cases_pb2.Desk.ValueType" = cases_pb2.DESK_SAFETY, who: int = 1
    ) -> cases_pb2.Case:
        """Hands a case on."""
        request = cases_pb2.EscalateCaseRequest(
            case_id=case_id, desk=desk, reason="It needs another look.", etag=self.etag(case_id)
        )
        return self.reviewer(who).EscalateCase(request).case

    def reopen(self, case_id: str, who: int = 1) -> cases_pb2.Case:
        """Opens a case again."""
        request = cases_pb2.ReopenCaseRequest(
            case_id=case_id, reason="New evidence came in.", etag=self.etag(case_id)
        )
        return self.reviewer(who).ReopenCase(request).case

    def appeal(self, case_id: str, organization_id: str = ACME) -> cases_pb2.OwnCase:
        """The customer appeals."""
        request = cases_pb2.AppealCaseRequest(case_id=case_id, reason="It was a security course.")
        return self.admin(organization_id).AppealCase(request).case

    def own_cases(self, organization_id: str = ACME) -> list[cases_pb2.OwnCase]:
        """What a customer is told."""
        return list(self.admin(organization_id).ListOwnCases(cases_pb2.ListOwnCasesRequest()).cases)

    def dismiss(self, case_id: str) -> cases_pb2.Case:
        """Closes a case without a violation."""
        self.claim(case_id)
        return self.decide(case_id, cases_pb2.DECISION_NO_VIOLATION)

    def uphold(self, case_id: str) -> cases_pb2.Case:
        """Closes a case with one."""
        self.claim(case_id)
        self.decide(case_id)
        return self.confirm(case_id)

    def run_jobs(self) -> None:
        """Every job of the service, until none has more to do."""
        for job in reversed(self.service.jobs):  # the outbox last, so that what jobs write is delivered
            while job.step():
                pass

    def kinds(self, organization_id: str = "") -> list[str]:
        """Kinds of the audit entries on an organization, in order."""
        self.run_jobs()
        return [entry.kind for entry in self.peers.entries if entry.organization_id == organization_id]

    def stored(self) -> str:
        """All that the service's tables hold, bytes as text too."""
        with self.database.engine.connect() as connection:
            rows = [
                row for table in TABLES for row in connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            ]
        return "\n".join(str(row) for row in rows)

    def waits_for_a_lock(self) -> bool:
        """Whether a transaction of this database waits for another one."""
        with self.database.engine.connect() as connection:
            return bool(
                connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one()
            )

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.database.engine.connect() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())

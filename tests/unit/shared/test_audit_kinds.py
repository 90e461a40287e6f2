"""Everything that changes something is in the audit log: each RPC says here which entries it leaves, or why it leaves none; each kind of
entry is declared with its facts, written somewhere, and shown to auditors as it is declared."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import protovalidate
import pytest

from kept.access_control.v1 import audit_pb2
from shared.audit import entry, require_own
from shared.audit_kinds import KINDS, Kind
from shared.errors import KeptError
from tests.support.clocks import ManualClock
from tests.support.contracts import methods

ROOT: Final = Path(__file__).parents[3]

# Reading changes nothing. That it was allowed to a person is an entry of `method.allowed`, before it is done.
_READS: Final = """
settings.AccountService/GetAccountDeletion
settings.ApiKeyService/ListApiKeys
settings.DataControlsService/GetDataControls
settings.DataControlsService/GetNotificationAddresses
settings.DataControlsService/ListAssistedOptOuts
settings.DataControlsService/ListDataControlsHistory
settings.DataControlsService/WatchDataControls
settings.GatewayService/ListGateways
settings.IdentifierService/ListIdentifiers
settings.MemberService/GetProfile
settings.MemberService/ListInvitations
settings.MemberService/ListMembers
settings.MemberService/ListSignIns
settings.OrganizationService/GetEffectiveTerms
settings.OrganizationService/GetOrganization
settings.OrganizationService/ListOrganizationChanges
settings.OrganizationService/ListOrganizations
settings.OrganizationService/ListUsageAgreements
settings.PolicyService/GetConsentHistory
settings.PolicyService/ListPolicyChanges
settings.SubjectRequestService/GetSubjectRequest
settings.SubjectRequestService/ListSubjectRequests
settings.TrustService/GetCommitments
settings.TrustService/GetContacts
settings.TrustService/GetTrustRequest
settings.TrustService/ListDocuments
settings.TrustService/ListSubprocessorObjections
settings.TrustService/ListSubprocessors
settings.TrustService/ListTrustRequests
settings.ZeroDataRetentionService/GetAdditionalCommitments
settings.ZeroDataRetentionService/ListZeroDataRetentionRequests
logging.LifecycleService/GetOldest
logging.LifecycleService/ListDroppedCounts
logging.LifecycleService/GetContentErasure
logging.LifecycleService/GetSubjectErasure
logging.LifecycleService/ListErasedRecords
logging.LifecycleService/ListStoredDays
logging.UsageService/QueryAnalytics
logging.UsageService/QueryUsage
access_control.AuditService/GetConsistencyProof
access_control.AuditService/GetInclusionProof
access_control.AuditService/GetTreeHead
access_control.AuditService/ListEntries
access_control.AuditService/ListOwnEntries
access_control.AuditService/ListSigningKeys
access_control.AuthzService/WatchEndedGrants
access_control.DirectoryService/GetMe
access_control.DirectoryService/ListIdentities
access_control.DirectoryService/ListPeople
access_control.DirectoryService/ListProviders
access_control.DirectoryService/ListReviews
access_control.GrantService/GetGrant
access_control.GrantService/ListGrants
access_control.GrantService/WatchGrant
access_control.KeyService/GetKeyStatus
access_control.KeyService/ListDestroyedEpochs
access_control.KeyService/ListWithheldRecords
retention.CertificateService/GetCertificate
retention.CertificateService/ListCertificates
retention.CertificateService/ListSigningKeys
retention.ContractService/ListTerms
retention.ErasureService/GetErasure
retention.ErasureService/GetErasureByClaim
retention.HoldService/ListHolds
retention.RuleService/ListRuleChanges
retention.RunService/GetRun
retention.RunService/ListRuns
retention.RunService/PlanRun
safety_review.CaseService/GetCase
safety_review.CaseService/ListCases
safety_review.DetectorService/ListDetectors
safety_review.DetectorService/ListRescreenings
safety_review.DetectorService/ListRules
access_control.DirectoryService/ListAffiliations
safety_review.CaseService/ListOwnCases
safety_review.EvaluationService/ListSets
safety_review.ReportService/GetSafetyReport
safety_review.DetectorService/TestDetector
safety_review.LogRuleService/ListLogRules
"""
READS: Final = frozenset(_READS.split())
# What changes something, or decides: the kinds of entries that it leaves, one or another.
CHANGES: Final = {
    name: tuple(kinds.split())
    for name, kinds in {
        "settings.AccountService/RequestAccountDeletion": "account_deletion.requested",
        "settings.AccountService/ConfirmAccountDeletion": "account_deletion.confirmed",
        "settings.AccountService/CancelAccountDeletion": "account_deletion.cancelled",
        "settings.ApiKeyService/RegisterApiKey": "api_key.registered",
        "settings.ApiKeyService/RevokeApiKey": "api_key.revoked",
        "settings.DataControlsService/UpdateDataControls": "data_controls.updated",
        "settings.DataControlsService/RequestAssistedOptOut": "assisted_opt_out.requested",
        "settings.DataControlsService/DecideAssistedOptOut": "assisted_opt_out.decided",
        "settings.DataControlsService/UpdateNotificationAddresses": "notification_addresses.updated",
        "settings.GatewayService/RegisterGateway": "gateway.registered",
        "settings.GatewayService/RevokeGateway": "gateway.revoked",
        "settings.LifecycleService/CloseOrganization": "organization.closed",
        "settings.LifecycleService/EraseOrganization": "organization.erased",
        "settings.MemberService/InviteMember": "member.invited",
        "settings.MemberService/RevokeInvitation": "member.invitation_revoked",
        "settings.MemberService/RegisterMember": "member.registered",
        "settings.MemberService/SetMemberRole": "member.role_changed",
        "settings.MemberService/RemoveMember": "member.removed",
        "settings.MemberService/UpdateProfile": "member.updated",
        "settings.MemberService/RequestEmailChange": "email_change.requested",
        "settings.MemberService/ConfirmEmailChange": "email.changed",
        "settings.MemberService/ChangePassword": "password.changed",
        "settings.MemberService/RequestPasswordReset": "password_reset.issued",
        "settings.MemberService/ResetPassword": "password.reset",
        "settings.MemberService/ExportProfile": "profile.exported",
        "settings.MemberService/DeleteMyAccount": "member.left",
        "settings.OrganizationService/AcceptTerms": "terms.accepted",
        "settings.OrganizationService/CreateOrganization": "organization.created member.invited",
        "settings.OrganizationService/InviteFirstAdmin": "member.invited member.invitation_revoked",
        "settings.OrganizationService/UpdateOrganization": "organization.updated",
        "settings.SubjectRequestService/CreateSubjectRequest": "subject_request.created",
        "settings.SubjectRequestService/ExportSubjectRequest": "subject_request.exported",
        "settings.SubjectRequestService/CompleteSubjectRequest": "subject_request.ended",
        "settings.SubjectRequestService/ExtendSubjectRequest": "subject_request.extended",
        "settings.TrustService/RequestDocument": "document.requested",
        "settings.TrustService/RequestDataProcessingAddendum": "document.requested",
        "settings.TrustService/DecideTrustRequest": "document.approved document.denied",
        "settings.TrustService/PublishDocument": "document.published",
        "settings.TrustService/WithdrawDocument": "document.withdrawn",
        "settings.TrustService/PublishSubprocessors": "subprocessors.published",
        "settings.TrustService/WithdrawSubprocessors": "subprocessors.withdrawn",
        "settings.TrustService/ObjectToSubprocessors": "subprocessors.objected",
        "settings.ZeroDataRetentionService/RequestZeroDataRetention": "zero_data_retention.requested",
        "settings.ZeroDataRetentionService/DecideZeroDataRetention": "zero_data_retention.approved zero_data_retention.denied "
        "zero_data_retention.decided",
        "settings.ZeroDataRetentionService/EndZeroDataRetention": "zero_data_retention.withdrawn zero_data_retention.end_approved "
        "zero_data_retention.end_announced zero_data_retention.ended",
        # Reads of content: decided on and written down by access control before anything leaves.
        "logging.ReadService/ListInteractions": "access.authorized access.denied records.opened",
        "logging.ReadService/ReadInteractions": "access.authorized access.denied records.opened",
        "logging.EvaluationTextService/ReadMasked": "access.authorized access.denied records.opened",
        "logging.LifecycleService/DropExpired": "partition.dropped rows.kept rows.removed",
        "logging.LifecycleService/HoldRecords": "rows.held",
        "logging.LifecycleService/HoldMatching": "rows.held",
        "logging.LifecycleService/DiscloseHold": "rows.disclosed",
        "logging.LifecycleService/ReleaseRecords": "rows.released",
        "logging.LifecycleService/EraseOrganization": "organization.erased",
        "logging.LifecycleService/EraseSubject": "subject.fenced subject.erased",
        "logging.LifecycleService/EraseContent": "content.fenced content.erased",
        "logging.LifecycleService/RaiseFence": "content.fenced",
        "access_control.AuditService/ReplaceSigningKey": "signing_key.replacement_ordered signing_key.retired signing_key.created",
        "access_control.AuditService/RevokeSigningKey": "signing_key.revocation_ordered signing_key.revoked",
        "access_control.AuthzService/Check": "method.allowed method.denied",
        "access_control.AuthzService/Authorize": "access.authorized access.denied",
        "access_control.AuthzService/AuthorizePermission": "access.authorized access.denied",
        "access_control.AuthzService/OpenRecords": "records.opened access.denied",
        "access_control.AuthzService/AuthorizeScreening": "records.screened access.denied",
        "access_control.AuthzService/OpenCase": "case.known",
        "access_control.AuthzService/CloseCase": "case.closed",
        "access_control.EvaluationKeyService/MakeEvaluationKey": "evaluation_key.made",
        "access_control.EvaluationKeyService/OpenEvaluationKey": "evaluation_key.opened",
        "access_control.EvaluationKeyService/DestroyEvaluationKey": "keys.destroyed",
        "access_control.DirectoryService/DeclareAffiliation": "affiliation.declared",
        "access_control.DirectoryService/EndAffiliation": "affiliation.ended",
        "access_control.DirectoryService/CreatePerson": "person.created",
        "access_control.DirectoryService/DisablePerson": "person.disabled",
        "access_control.DirectoryService/LinkIdentity": "identity.proposed",
        "access_control.DirectoryService/ConfirmIdentity": "identity.confirmed",
        "access_control.DirectoryService/EndIdentity": "identity.ended",
        "access_control.DirectoryService/AssignRole": "role.proposed",
        "access_control.DirectoryService/ConfirmRole": "role.confirmed",
        "access_control.DirectoryService/EndRole": "role.ended",
        "access_control.DirectoryService/RecordAgreement": "agreement.recorded",
        "access_control.DirectoryService/CreateProvider": "provider.proposed",
        "access_control.DirectoryService/ConfirmProvider": "provider.confirmed",
        "access_control.DirectoryService/EndProvider": "provider.ended",
        "access_control.DirectoryService/ConfirmReview": "review.confirmed role.ended agreement.ended provider.ended",
        "access_control.ExportService/SealExport": "export.sealed",
        "access_control.GrantService/RequestGrant": "grant.requested grant.approved case.named",
        "access_control.GrantService/ApproveGrant": "grant.approved grant.extended grant.extension_approved",
        "access_control.GrantService/DenyGrant": "grant.denied grant.extension_denied",
        "access_control.GrantService/CancelGrant": "grant.cancelled grant.extension_cancelled",
        "access_control.GrantService/RevokeGrant": "grant.revoked",
        "access_control.GrantService/ExtendGrant": "grant.extension_requested",
        "access_control.GrantService/BreakGlass": "break_glass.used",
        "access_control.GrantService/ReviewBreakGlass": "break_glass.reviewed",
        "access_control.KeyService/GetEpochKey": "epoch.created",
        "access_control.KeyService/DestroyEpochs": "keys.marked keys.destroyed",
        "access_control.KeyService/RetainRecords": "keys.retained",
        "access_control.KeyService/DiscloseHold": "keys.disclosed",
        "access_control.KeyService/WithholdRecords": "keys.withheld",
        "access_control.KeyService/ReleaseRecords": "keys.marked keys.destroyed",
        "access_control.LifecycleService/EraseOrganization": "organization.erased",
        "retention.ErasureService/EraseOrganization": "erasure.started erasure.ended erasure.completed certificate.signed",
        "retention.ErasureService/EraseContent": "content_erasure.started content_erasure.ended content_erasure.completed",
        "retention.ErasureService/EraseSubject": "subject_erasure.started subject_erasure.failed subject_erasure.ended "
        "subject_erasure.completed certificate.signed",
        "retention.ContractService/SetTerm": "term.proposed",
        "retention.ContractService/ConfirmTerm": "term.confirmed term.end_confirmed term.begun term.ended",
        "retention.ContractService/EndTerm": "term.end_proposed term.withdrawn",
        "retention.HoldService/PlaceHold": "hold.placed hold.activated hold.failed",
        "retention.HoldService/ConfirmHold": "hold.confirmed",
        "retention.HoldService/ExtendHold": "hold.extended",
        "retention.HoldService/ReviewHoldSecrecy": "hold.secrecy_reviewed hold.disclosed",
        "retention.HoldService/ReleaseHold": "hold.released hold.ended",
        "retention.RunService/StartRun": "run.started run.ended run.not_certified certificate.signed",
        "safety_review.DetectorService/StartRescreening": "rescreening.started",
        "safety_review.LogRuleService/AnswerLogQuestion": "log_data.found records.flagged case.opened",
        "safety_review.ScreeningService/ReportRescreening": "rescreening.ended",
        "safety_review.DetectorService/ReloadRules": "rules.reloaded rules.refused",
        "safety_review.CaseService/ClaimCase": "case.claimed",
        "safety_review.CaseService/ClaimNextCase": "case.claimed",
        "safety_review.CaseService/OpenCase": "case.opened case.reported",
        "safety_review.CaseService/EscalateCase": "case.escalated",
        "safety_review.CaseService/ReopenCase": "case.reopened",
        "safety_review.CaseService/AppealCase": "case.appealed",
        "safety_review.EvaluationService/BuildSet": "evaluation_set.built",
        "safety_review.EvaluationService/EvaluateDetectors": "evaluation_set.used",
        "safety_review.EvaluationService/DeleteSet": "evaluation_set.ended",
        "safety_review.CaseService/DecideCase": "case.dismissed case.decided",
        "safety_review.CaseService/ConfirmDecision": "case.confirmed case.returned case.told",
        "safety_review.LifecycleService/EraseOrganization": "organization.erased",
        "safety_review.LifecycleService/EraseRecords": "records.erased",
        "safety_review.ScreeningService/Screen": "records.flagged case.opened behaviour.noticed",
    }.items()
}
# What leaves no entry of its own, and why.
WITHOUT: Final = {
    "settings.ApiKeyService/ResolveApiKey": "A gateway asks whose key it has seen, before each call; nothing changes.",
    "access_control.AuditService/AppendEntries": "It is how entries of other services come here.",
    "access_control.AuthzService/CheckVoices": "A service asks before a second person's act counts; that has its entry there.",
    "access_control.AuthzService/RequireOrganization": "A service asks before it begins something; that has its entry there.",
    "access_control.DirectoryService/SyncMember": "Settings has reported what changed.",
    "logging.IngestService/RecordInteraction": "Records are stored and counted; nothing is decided about them.",
    "logging.IngestService/RecordInteractions": "As RecordInteraction.",
    "logging.IngestService/ReportUsage": "As RecordInteraction, and numbers are all there is.",
    "opentelemetry.proto.collector.logs.LogsService/Export": "As RecordInteraction.",
    "opentelemetry.proto.collector.trace.TraceService/Export": "As RecordInteraction.",
    "logging.LifecycleService/ForgetErasedRecords": "Retention reports the end: subject_erasure.ended, subject_erasure.completed.",
    "settings.MemberService/AuthenticateMember": "Sign-ins are log data, which has a term; nothing leaves the audit log.",
    "settings.MemberService/RenewSignIn": "As AuthenticateMember.",
    "safety_review.LogRuleService/TakeLogQuestion": "A lease on work; what is found by it is log_data.found.",
    "safety_review.ScreeningService/TakeRescreening": "A lease on work; what is opened for it is records.opened.",
}
# Kinds that no RPC leaves: acts of jobs and commands, and of what is decided about every call.
_BY_ITSELF: Final = """
request.refused grant.refused directory.refused agreement.expired review.due review.lapsed break_glass.review_due
operator.bootstrapped operator.recovered policies.changed policies.refused root.created account_deletion.handed_over
subject_request.handed_over subject_request.reminded subject_request.completed
provider.listed provider.unlisted hold.lapsed hold.refused rule.changed cases.erased subprocessors.announced
zero_data_retention.end_called_off database.caught_up
"""
BY_ITSELF: Final = frozenset(_BY_ITSELF.split())


def _name(path: str) -> str:
    return path.removeprefix("/kept.").removeprefix("/").replace(".v1.", ".")


def test_every_rpc_says_what_it_leaves_in_the_audit_log() -> None:
    told = [*READS, *CHANGES, *WITHOUT]
    assert len(told) == len(set(told))
    assert {_name(method.path) for method in methods()} == set(told)


def test_reads_are_called_so() -> None:
    """A new RPC that changes something is not put among the reads by mistake: its name would have to be one of a read."""
    assert [name for name in READS if not re.match(r".*/(Get|List|Watch|Plan|Query|Test)[A-Z]", name)] == []
    changing = re.compile(r".*/(Get|List|Watch|Plan|Query)[A-Z]")
    assert {name for name in {*CHANGES, *WITHOUT} if changing.match(name)} == {
        "access_control.KeyService/GetEpochKey",  # makes the key pair when it is first asked for
        "logging.ReadService/ListInteractions",
    }


def test_every_kind_is_somebodys_and_no_other_is_named() -> None:
    left = {kind for kinds in CHANGES.values() for kind in kinds}
    assert left | BY_ITSELF == set(KINDS)
    assert left & BY_ITSELF == set()


def _texts(folder: Path) -> Iterator[str]:
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_declared_kind_is_written_somewhere() -> None:
    written = {text for text in _texts(ROOT / "services") if text in KINDS} | {"database.caught_up"}
    # What shared.outbox.replay writes for any service; what is new about a key, and what a review ends.
    put_together = {"signing_key.created", "signing_key.retired", "signing_key.revoked", "agreement.ended"}
    assert set(KINDS) - written - put_together == set()


def test_a_kind_is_written_by_its_owner_alone() -> None:
    for service in ("access_control", "settings", "logging", "retention", "safety_review"):
        named = {text for text in _texts(ROOT / "services" / service) if text in KINDS}
        assert {kind for kind in named if KINDS[kind].owner not in ("", service)} == set(), service
        assert {kind for kind in named if KINDS[kind].owner == service}, service
    assert {kind for kind in KINDS if not KINDS[kind].owner} == {"organization.erased", "database.caught_up"}
    assert {KINDS["export.sealed"].owner, KINDS["certificate.signed"].owner} == {
        "access_control",
        "retention",
    }


def test_nobody_reports_what_is_another_services() -> None:
    def made(kind: str) -> audit_pb2.AuditEntry:
        return audit_pb2.AuditEntry(kind=kind)

    for kind, declared in KINDS.items():
        for service in ("access_control", "settings", "logging", "retention", "safety_review", "training"):
            if declared.owner in ("", service):
                require_own([made(kind)], service)
                continue
            with pytest.raises(KeptError) as caught:
                require_own([made("database.caught_up"), made(kind)], service)
            assert (caught.value.name, caught.value.fields[0][0]) == ("INVALID_ARGUMENT", "entries[1].kind")
    with pytest.raises(KeptError, match="not valid"):
        require_own([made("nonsense.invented")], "logging")


@pytest.mark.parametrize("field", ["entry_id", "actor", "facts", "reported_by", "version"])
def test_no_fact_is_called_like_what_every_entry_says(field: str) -> None:
    with pytest.raises(KeptError) as caught:
        require_own([audit_pb2.AuditEntry(kind="case.claimed", facts={field: "logging"})], "safety_review")
    assert (caught.value.name, caught.value.fields[0][0]) == ("INVALID_ARGUMENT", "entries[0].facts")
    require_own([audit_pb2.AuditEntry(kind="document.published", facts={"version": "2"})], "settings")
    require_own([audit_pb2.AuditEntry(kind="case.claimed", facts={"of_a_newer": "1"})], "safety_review")


@pytest.mark.parametrize("kind", list(KINDS))
def test_kinds_and_facts_fit_the_contract(kind: str) -> None:
    fields = audit_pb2.AuditEntry.DESCRIPTOR.fields_by_name
    assert {"kind", "facts"} <= set(fields)
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", kind)
    assert len(KINDS[kind].facts) <= 40
    assert all(re.fullmatch(r"[a-z0-9_]{1,40}", fact) for fact in KINDS[kind].facts)
    assert KINDS[kind].meaning.endswith(".")


def test_what_is_not_declared_cannot_be_written() -> None:
    now = ManualClock().now()
    made = entry("hold.released", actor="service:retention", at=now, facts={"reason": "released"})
    assert made.kind == "hold.released"
    with pytest.raises(ValueError, match=r"hold\.lost are not declared"):
        entry("hold.lost", actor="service:retention", at=now)
    with pytest.raises(ValueError, match=r"not declared in shared\.audit_kinds: prompt"):
        entry("hold.released", actor="service:retention", at=now, facts={"prompt": "hello"})


def test_auditors_are_shown_the_same_table() -> None:
    text = (ROOT / "docs" / "audit-log.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([a-z_]*) ?\| (.+?) \| (.*?) \|$", text, re.MULTILINE)
    shown = {
        kind: Kind(meaning, frozenset(re.findall(r"[a-z0-9_]+", facts)), "" if owner == "any" else owner)
        for kind, owner, meaning, facts in rows
    }
    assert shown == dict(KINDS)
    assert len(rows) == len(KINDS)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("one\nand\ttwo\x7f\x85\u2028", "one and two   "),
        ("a\u200bb é", "a\u200bb é"),
        ("x" * 1_000, "x" * 1_000),
        ("\n" + "x" * 1_000, " " + "x" * 999),
        (1_000, "1000"),
        (True, "true"),
    ],
    ids=["lines", "as it is", "longest", "too long", "number", "truth"],
)
def test_a_fact_is_one_line_that_the_log_takes_whatever_people_wrote(
    value: str | int | bool, written: str
) -> None:
    made = entry("rules.refused", actor="person_a", at=ManualClock().now(), facts={"problem": value})
    assert made.facts["problem"] == written
    protovalidate.validate(made)

"""What people type becomes the request that they mean; what comes back is shown to people and to programs."""

import hashlib
import json
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kept.access_control.v1 import audit_pb2, directory_pb2, grants_pb2, keys_pb2
from kept.cli import arguments, main
from kept.client.errors import KeptError
from kept.logging.v1 import interactions_pb2, read_pb2, usage_pb2
from kept.options.v1 import roles_pb2
from kept.retention.v1 import (
    certificates_pb2,
    contracts_pb2,
    erasures_pb2,
    holds_pb2,
    rules_pb2,
    runs_pb2,
)
from kept.safety_review.v1 import cases_pb2, detectors_pb2, log_rules_pb2
from kept.settings.v1 import (
    account_pb2,
    api_keys_pb2,
    data_controls_pb2,
    gateways_pb2,
    members_pb2,
    organizations_pb2,
    policies_pb2,
    terms_pb2,
    zero_data_retention_pb2,
)
from tests.unit.clients.conftest import ORG, Services
from tests.unit.clients.test_evidence_commands import Log

GRANT = "grant_" + "b" * 26
RECORD = "0198c5a0-1c2b-7d3e-8f40-5a6b7c8d9e0f"
RAW = bytes.fromhex(RECORD.replace("-", ""))
FILTER = read_pb2.RecordFilter(
    application="support",
    model="m-1",
    end_user="u-17",
    finish_reason="length",
    min_prompt_tokens=10,
    max_prompt_tokens=20,
    min_generation_tokens=1,
    max_generation_tokens=2,
    flagged=True,
)
ZDR = "zdr_" + "c" * 26


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
    return stamp


def scope(**fields: Any) -> grants_pb2.DataScope:
    return grants_pb2.DataScope(organization_id=ORG, **fields)


# The command line after "kept", and the last request that it sends.
REQUESTS: list[tuple[str, Message]] = [
    (
        f"access request -o {ORG} --purpose engineering-support --reason 'garbled answers' --detail masked --budget 7 "
        f"--minutes 30 --record {RECORD} --record {RECORD.upper()} --ticket T-1 --case case_1 --request-id request-1 "
        "--from 2026-01-02 --until 2026-01-03T04:05:06+01:00 --start 2026-01-04T00:00Z",
        grants_pb2.RequestGrantRequest(
            request_id="request-1",
            purpose=grants_pb2.PURPOSE_ENGINEERING_SUPPORT,
            reason="garbled answers",
            ticket="T-1",
            duration=Duration(seconds=1800),
            start_at=at(2026, 1, 4),
            data=scope(
                **{"from": at(2026, 1, 2)},
                until=at(2026, 1, 3, 3, 5, 6),
                record_ids=[RAW],
                detail=grants_pb2.DETAIL_MASKED,
                budget=7,
                case_id="case_1",
            ),
        ),
    ),
    (
        # A customer's own export: the organization and the purpose go without saying.
        "access request --reason 'our archive' --detail full --budget 10000000 --request-id request-3",
        grants_pb2.RequestGrantRequest(
            request_id="request-3",
            purpose=grants_pb2.PURPOSE_CUSTOMER_EXPORT,
            reason="our archive",
            duration=Duration(seconds=3600),
            data=scope(detail=grants_pb2.DETAIL_FULL, budget=10_000_000),
        ),
    ),
    (
        "access request --power role-assignment --reason 'a new colleague' --request-id request-2",
        grants_pb2.RequestGrantRequest(
            request_id="request-2",
            power=roles_pb2.POWER_ROLE_ASSIGNMENT,
            reason="a new colleague",
            duration=Duration(seconds=3600),
        ),
    ),
    (f"access approve {GRANT}", grants_pb2.ApproveGrantRequest(grant_id=GRANT)),
    (f"access deny {GRANT} -r no", grants_pb2.DenyGrantRequest(grant_id=GRANT, reason="no")),
    (f"access cancel {GRANT}", grants_pb2.CancelGrantRequest(grant_id=GRANT)),
    (f"access revoke {GRANT} --reason over", grants_pb2.RevokeGrantRequest(grant_id=GRANT, reason="over")),
    (f"access show {GRANT}", grants_pb2.GetGrantRequest(grant_id=GRANT)),
    (
        f"access list --state approved --organization {ORG}",
        grants_pb2.ListGrantsRequest(
            state=grants_pb2.GRANT_STATE_APPROVED, organization_id=ORG, page_size=100
        ),
    ),
    (
        f"logs list --grant {GRANT} -o {ORG} --limit 5",
        read_pb2.ListInteractionsRequest(
            grant_id=GRANT, organization_id=ORG, filter=read_pb2.RecordFilter(), page_size=5
        ),
    ),
    (
        f"logs list --grant {GRANT} -o {ORG} --application support --model m-1 --end-user u-17 --finish-reason length "
        "--min-prompt-tokens 10 --max-prompt-tokens 20 --min-generation-tokens 1 --max-generation-tokens 2 --flagged",
        read_pb2.ListInteractionsRequest(grant_id=GRANT, organization_id=ORG, filter=FILTER, page_size=100),
    ),
    (
        f"logs read --grant {GRANT} -o {ORG} --detail masked --application support --model m-1 --end-user u-17 "
        "--finish-reason length --min-prompt-tokens 10 --max-prompt-tokens 20 --min-generation-tokens 1 "
        "--max-generation-tokens 2 --flagged",
        read_pb2.ReadInteractionsRequest(
            grant_id=GRANT, organization_id=ORG, detail=grants_pb2.DETAIL_MASKED, filter=FILTER
        ),
    ),
    (  # without a grant it is the service that refuses, and audits that it did
        f"logs read -o {ORG} --detail full --follow --record {RECORD}",
        read_pb2.ReadInteractionsRequest(
            organization_id=ORG,
            detail=grants_pb2.DETAIL_FULL,
            follow=True,
            filter=read_pb2.RecordFilter(record_ids=[RAW]),
        ),
    ),
    (
        "settings organizations create --name 'Acme Ltd' --admin-email a@acme.example --tier trial "
        "--deployment third-party-cloud --training on --request-id request-3",
        organizations_pb2.CreateOrganizationRequest(
            request_id="request-3",
            display_name="Acme Ltd",
            admin_email="a@acme.example",
            tier=organizations_pb2.TIER_TRIAL,
            deployment=organizations_pb2.DEPLOYMENT_THIRD_PARTY_CLOUD,
            training_allowed=True,
        ),
    ),
    (
        "settings organizations create --name Own --admin-email a@own.example --deployment private --usage on "
        "--request-id request-5",
        organizations_pb2.CreateOrganizationRequest(
            request_id="request-5",
            display_name="Own",
            admin_email="a@own.example",
            tier=organizations_pb2.TIER_PAYING,
            deployment=organizations_pb2.DEPLOYMENT_PRIVATE,
            usage_agreed=True,
        ),
    ),
    (
        f"settings organizations update {ORG} --usage off --etag organization-1",
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=ORG, etag="organization-1", usage_agreed=False
        ),
    ),
    (
        f"settings organizations agreements {ORG}",
        organizations_pb2.ListUsageAgreementsRequest(organization_id=ORG, page_size=500),
    ),
    (
        "usage show --from 2027-01-01T10:30 --until 2027-01-02T10:00:01 --application desk --model m-1 --limit 7",
        usage_pb2.QueryUsageRequest(
            organization_id=ORG,
            from_hour=at(2027, 1, 1, 10),
            until_hour=at(2027, 1, 2, 11),
            step=usage_pb2.USAGE_STEP_HOUR,
            application="desk",
            model="m-1",
            page_size=7,
        ),
    ),
    (
        f"usage show -o {ORG} --days --from 2027-01-01 --until 2027-01-02T00:00:01",
        usage_pb2.QueryUsageRequest(
            organization_id=ORG,
            from_hour=at(2027, 1, 1),
            until_hour=at(2027, 1, 3),
            step=usage_pb2.USAGE_STEP_DAY,
            page_size=500,
        ),
    ),
    (
        "usage analytics --until 2027-01-08 --model m-1",
        usage_pb2.QueryAnalyticsRequest(
            from_hour=at(2027, 1, 1), until_hour=at(2027, 1, 8), model="m-1", page_size=500
        ),
    ),
    (
        f"settings organizations invite-admin {ORG} a@acme.example",
        organizations_pb2.InviteFirstAdminRequest(organization_id=ORG, admin_email="a@acme.example"),
    ),
    ("settings organizations list", organizations_pb2.ListOrganizationsRequest(page_size=100)),
    ("settings organizations show", organizations_pb2.GetOrganizationRequest(organization_id=ORG)),
    (
        f"settings gateways register chat -o {ORG} -o {ORG}",
        gateways_pb2.RegisterGatewayRequest(name="chat", organization_ids=[ORG]),
    ),
    (
        "settings gateways register chat --all-organizations",
        gateways_pb2.RegisterGatewayRequest(name="chat", all_organizations=True),
    ),
    ("settings gateways revoke chat", gateways_pb2.RevokeGatewayRequest(name="chat")),
    ("settings gateways list", gateways_pb2.ListGatewaysRequest()),
    ("settings controls show", data_controls_pb2.GetDataControlsRequest(organization_id=ORG)),
    (
        "settings controls set --training off --etag e1",
        data_controls_pb2.UpdateDataControlsRequest(organization_id=ORG, etag="e1", training_allowed=False),
    ),
    (
        "settings controls set --customer-approval on --etag e1",
        data_controls_pb2.UpdateDataControlsRequest(
            organization_id=ORG, etag="e1", require_customer_approval=True
        ),
    ),
    (
        "settings controls history",
        data_controls_pb2.ListDataControlsHistoryRequest(organization_id=ORG, page_size=500),
    ),
    ("settings controls consent", policies_pb2.GetConsentHistoryRequest(organization_id=ORG)),
    ("settings zdr commitments", zero_data_retention_pb2.GetAdditionalCommitmentsRequest()),
    (
        "settings zdr commitments --version 2025-01",
        zero_data_retention_pb2.GetAdditionalCommitmentsRequest(version="2025-01"),
    ),
    ("settings zdr limits", zero_data_retention_pb2.GetAdditionalCommitmentsRequest()),
    (
        f"settings zdr end {ZDR} --reason over",
        zero_data_retention_pb2.EndZeroDataRetentionRequest(
            zero_data_retention_request_id=ZDR, reason="over"
        ),
    ),
    (
        "settings zdr request --version v1 --accept one --accept two",
        zero_data_retention_pb2.RequestZeroDataRetentionRequest(
            organization_id=ORG, commitments_version="v1", accepted_commitments=["one", "two"]
        ),
    ),
    (
        "settings zdr request --version v1 --accept one --erase-before",
        zero_data_retention_pb2.RequestZeroDataRetentionRequest(
            organization_id=ORG,
            commitments_version="v1",
            accepted_commitments=["one"],
            erase_logged_before=True,
        ),
    ),
    (
        f"settings zdr decide {ZDR} --approve --reason fine",
        zero_data_retention_pb2.DecideZeroDataRetentionRequest(
            zero_data_retention_request_id=ZDR, approve=True, reason="fine"
        ),
    ),
    (
        f"settings zdr decide {ZDR} --deny --reason no",
        zero_data_retention_pb2.DecideZeroDataRetentionRequest(
            zero_data_retention_request_id=ZDR, approve=False, reason="no"
        ),
    ),
    ("settings zdr list --as anna", zero_data_retention_pb2.ListZeroDataRetentionRequestsRequest()),
    (
        "settings members invite b@acme.example --role admin",
        members_pb2.InviteMemberRequest(
            organization_id=ORG, email="b@acme.example", role=roles_pb2.CUSTOMER_ROLE_ADMIN
        ),
    ),
    (
        "settings members register --first-name Bo --last-name Li",
        members_pb2.RegisterMemberRequest(
            invitation_token="invitation", first_name="Bo", last_name="Li", password="a long password"
        ),
    ),
    ("settings members list", members_pb2.ListMembersRequest(organization_id=ORG, page_size=500)),
    ("settings account delete", account_pb2.RequestAccountDeletionRequest(organization_id=ORG)),
    (
        "settings account confirm deletion_1 --sentence 'delete it'",
        account_pb2.ConfirmAccountDeletionRequest(
            account_deletion_id="deletion_1", confirmation_sentence="delete it"
        ),
    ),
    (
        "settings account cancel deletion_1",
        account_pb2.CancelAccountDeletionRequest(account_deletion_id="deletion_1"),
    ),
    ("settings account status", account_pb2.GetAccountDeletionRequest(organization_id=ORG)),
    ("people list", directory_pb2.ListPeopleRequest(page_size=500)),
    (
        "people add --name 'Bo Li' --email bo@vendor.example --subject bo",
        directory_pb2.CreatePersonRequest(display_name="Bo Li", email="bo@vendor.example", subject="bo"),
    ),
    (
        "people role assign person_1 auditor",
        directory_pb2.AssignRoleRequest(person_id="person_1", role=roles_pb2.STAFF_ROLE_AUDITOR),
    ),
    ("people role confirm role_1", directory_pb2.ConfirmRoleRequest(role_assignment_id="role_1")),
    ("people role end role_1", directory_pb2.EndRoleRequest(role_assignment_id="role_1")),
    (
        f"people agreement person_1 --sha256 {'ab' * 32} --signed 2026-01-01 --expires 2027-01-01",
        directory_pb2.RecordAgreementRequest(
            person_id="person_1",
            kinds=[
                directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY,
                directory_pb2.AGREEMENT_KIND_SECURITY_CONTROLS,
            ],
            document_sha256=b"\xab" * 32,
            signed_at=at(2026, 1, 1),
            expires_at=at(2027, 1, 1),
        ),
    ),
    (
        f"people agreement provider_1 --kind confidentiality --sha256 {'ab' * 32} --signed 2026-01-01 --expires 2027-01-01",
        directory_pb2.RecordAgreementRequest(
            provider_id="provider_1",
            kinds=[directory_pb2.AGREEMENT_KIND_CONFIDENTIALITY],
            document_sha256=b"\xab" * 32,
            signed_at=at(2026, 1, 1),
            expires_at=at(2027, 1, 1),
        ),
    ),
    ("people review", directory_pb2.ListReviewsRequest(page_size=500)),
    (
        "people confirm role_1",
        directory_pb2.ConfirmReviewRequest(subject_id="role_1", verdict=directory_pb2.REVIEW_VERDICT_KEEP),
    ),
    (
        "people end agreement_1",
        directory_pb2.ConfirmReviewRequest(
            subject_id="agreement_1", verdict=directory_pb2.REVIEW_VERDICT_END
        ),
    ),
    (
        "people add --name Vi --email vi@provider.example --subject vi --issuer https://p.example --provider provider_1",
        directory_pb2.CreatePersonRequest(
            display_name="Vi",
            email="vi@provider.example",
            subject="vi",
            issuer="https://p.example",
            provider_id="provider_1",
        ),
    ),
    (
        "people identity link person_1 --subject bo-admin",
        directory_pb2.LinkIdentityRequest(person_id="person_1", subject="bo-admin"),
    ),
    ("people identity confirm identity_1", directory_pb2.ConfirmIdentityRequest(identity_id="identity_1")),
    ("people identity end identity_1", directory_pb2.EndIdentityRequest(identity_id="identity_1")),
    ("people identity list person_1", directory_pb2.ListIdentitiesRequest(person_id="person_1")),
    ("people provider add --name Acme", directory_pb2.CreateProviderRequest(name="Acme")),
    ("people provider confirm provider_1", directory_pb2.ConfirmProviderRequest(provider_id="provider_1")),
    ("people provider end provider_1", directory_pb2.EndProviderRequest(provider_id="provider_1")),
    ("people provider list", directory_pb2.ListProvidersRequest(page_size=500)),
    ("people disable person_1", directory_pb2.DisablePersonRequest(person_id="person_1")),
    (
        f"holds place -o {ORG} --record {RECORD} --reference M-1 --review-at 2027-01-01 --request-id request-4",
        holds_pb2.PlaceHoldRequest(
            request_id="request-4",
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=ORG,
            record_ids=[RAW],
            reference="M-1",
            review_at=at(2027, 1, 1),
        ),
    ),
    ("holds confirm hold_1", holds_pb2.ConfirmHoldRequest(hold_id="hold_1")),
    ("holds release hold_1 -r settled", holds_pb2.ReleaseHoldRequest(hold_id="hold_1", reason="settled")),
    (
        f"holds place -o {ORG} --end-user u-1 --from 2026-03-01 --reference M-1 --review-at 2027-01-01 --request-id request-6",
        holds_pb2.PlaceHoldRequest(
            request_id="request-6",
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=ORG,
            reference="M-1",
            review_at=at(2027, 1, 1),
            scope=holds_pb2.HoldScope(end_user="u-1", first_day="2026-03-01"),
        ),
    ),
    (
        "holds extend hold_1 --review-at 2027-01-01 -r appeal",
        holds_pb2.ExtendHoldRequest(hold_id="hold_1", reason="appeal", review_at=at(2027, 1, 1)),
    ),
    (
        f"holds place -o {ORG} --everything --reference M-1 --review-at 2027-01-01 --confidential §1 --secrecy-review-at 2026-09-01 "
        "--request-id request-7",
        holds_pb2.PlaceHoldRequest(
            request_id="request-7",
            kind=holds_pb2.HOLD_KIND_LEGAL,
            organization_id=ORG,
            reference="M-1",
            review_at=at(2027, 1, 1),
            scope=holds_pb2.HoldScope(),
            secrecy=holds_pb2.HoldSecrecy(legal_basis="§1", review_at=at(2026, 9, 1)),
        ),
    ),
    (
        "holds secrecy hold_1 --ends -r lifted",
        holds_pb2.ReviewHoldSecrecyRequest(hold_id="hold_1", ends=True, reason="lifted"),
    ),
    (
        "holds secrecy hold_1 --review-at 2027-01-01 -r renewed",
        holds_pb2.ReviewHoldSecrecyRequest(hold_id="hold_1", review_at=at(2027, 1, 1), reason="renewed"),
    ),
    ("holds list", holds_pb2.ListHoldsRequest(organization_id=ORG, page_size=100)),
    ("cases list --state open", cases_pb2.ListCasesRequest(state=cases_pb2.CASE_STATE_OPEN, page_size=100)),
    ("cases show case_1", cases_pb2.GetCaseRequest(case_id="case_1")),
    ("cases claim case_1", cases_pb2.ClaimCaseRequest(case_id="case_1")),
    (
        "cases decide case_1 no-violation --reason 'a cookbook'",
        cases_pb2.DecideCaseRequest(
            case_id="case_1", decision=cases_pb2.DECISION_NO_VIOLATION, reason="a cookbook"
        ),
    ),
    ("cases confirm case_1", cases_pb2.ConfirmDecisionRequest(case_id="case_1", confirm=True)),
    ("cases confirm case_1 --send-back", cases_pb2.ConfirmDecisionRequest(case_id="case_1", confirm=False)),
    ("safety rules", detectors_pb2.ListRulesRequest()),
    (
        f"detectors rescreen grant_1 -o {ORG} --from 2026-12-01 --until 2027-01-01",
        detectors_pb2.StartRescreeningRequest(
            grant_id="grant_1", organization_id=ORG, until=at(2027, 1, 1), **{"from": at(2026, 12, 1)}
        ),
    ),
    ("detectors rescreenings", detectors_pb2.ListRescreeningsRequest(page_size=100)),
    ("detectors log-rules", log_rules_pb2.ListLogRulesRequest(page_size=100)),
    ("detectors list", detectors_pb2.ListDetectorsRequest(page_size=100)),
    (
        f"detectors test {__file__}",
        detectors_pb2.TestDetectorRequest(text=Path(__file__).read_text(encoding="utf-8")),
    ),
    (
        f"detectors test {__file__} --draft {__file__}",
        detectors_pb2.TestDetectorRequest(
            text=Path(__file__).read_text(encoding="utf-8"), draft=Path(__file__).read_bytes()
        ),
    ),
    (
        f"detectors reload {__file__}",
        detectors_pb2.ReloadRulesRequest(sha256=hashlib.sha256(Path(__file__).read_bytes()).hexdigest()),
    ),
    ("retention plan", runs_pb2.PlanRunRequest()),
    (
        f"retention terms set -o {ORG} at-least 90 --reference C-7 --from 2027-01-01 --request-id request-5",
        contracts_pb2.SetTermRequest(
            request_id="request-5",
            organization_id=ORG,
            kind=rules_pb2.TERM_KIND_AT_LEAST,
            days=90,
            reference="C-7",
            from_day="2027-01-01",
        ),
    ),
    (
        f"retention terms set -o {ORG} at-most 10 --application 'night shift' --reference C-7 --request-id request-6",
        contracts_pb2.SetTermRequest(
            request_id="request-6",
            organization_id=ORG,
            kind=rules_pb2.TERM_KIND_AT_MOST,
            days=10,
            reference="C-7",
            application="night shift",
        ),
    ),
    (
        "retention terms confirm term_1 --dry-run",
        contracts_pb2.ConfirmTermRequest(
            term_id="term_1", validate_only=True, proposal=contracts_pb2.TERM_PROPOSAL_TERM
        ),
    ),
    (
        "retention terms confirm term_1 --end",
        contracts_pb2.ConfirmTermRequest(term_id="term_1", proposal=contracts_pb2.TERM_PROPOSAL_END),
    ),
    ("retention terms end term_1 -r over", contracts_pb2.EndTermRequest(term_id="term_1", reason="over")),
    ("retention terms list", contracts_pb2.ListTermsRequest(organization_id=ORG, page_size=100)),
    ("retention run", runs_pb2.StartRunRequest()),
    ("retention runs --limit 3", runs_pb2.ListRunsRequest(page_size=3)),
    ("retention show run_1", runs_pb2.GetRunRequest(run_id="run_1")),
    ("erasures show --claim the-claim", erasures_pb2.GetErasureByClaimRequest(claim="the-claim")),
    ("erasures show erasure_1", erasures_pb2.GetErasureRequest(erasure_id="erasure_1")),
    ("certificates list", certificates_pb2.ListCertificatesRequest(organization_id=ORG, page_size=100)),
    (
        "certificates get certificate_1",
        certificates_pb2.GetCertificateRequest(certificate_id="certificate_1"),
    ),
    (
        "audit list --after 4 --limit 9",
        audit_pb2.ListEntriesRequest(organization_id=ORG, after_number=4, page_size=9),
    ),
    ("audit list --as anna", audit_pb2.ListEntriesRequest(page_size=100)),
    ("keys status", keys_pb2.GetKeyStatusRequest()),
    (
        "settings keys register bot --kind trial --request-id request-1",
        api_keys_pb2.RegisterApiKeyRequest(
            request_id="request-1",
            organization_id=ORG,
            name="bot",
            kind=interactions_pb2.API_KEY_KIND_TRIAL,
            fingerprint=hashlib.sha256(b"an api key").digest(),
        ),
    ),
    (
        f"settings keys register bot --fingerprint {'AB' * 32} --request-id request-1",
        api_keys_pb2.RegisterApiKeyRequest(
            request_id="request-1",
            organization_id=ORG,
            name="bot",
            kind=interactions_pb2.API_KEY_KIND_PRODUCTION,
            fingerprint=b"\xab" * 32,
        ),
    ),
    (
        f"settings organizations update {ORG} --etag e --tier trial --deployment private --training-days 0 --contract C-1 "
        "--contract C-2 --privacy-contact '' --support-contact help@acme.test",
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=ORG,
            etag="e",
            tier=organizations_pb2.TIER_TRIAL,
            deployment=organizations_pb2.DEPLOYMENT_PRIVATE,
            training_retention_days=0,
            contract_references=organizations_pb2.ContractReferences(references=["C-1", "C-2"]),
            privacy_contact="",
            support_contact="help@acme.test",
        ),
    ),
    (
        f"settings organizations update {ORG} --etag e --no-contract",
        organizations_pb2.UpdateOrganizationRequest(
            organization_id=ORG, etag="e", contract_references=organizations_pb2.ContractReferences()
        ),
    ),
    (
        "settings organizations history",
        organizations_pb2.ListOrganizationChangesRequest(organization_id=ORG, page_size=500),
    ),
    ("settings terms show", terms_pb2.GetEffectiveTermsRequest(organization_id=ORG)),
    (
        "settings terms accept --accept business-use --accept usage-policy --version 2026-01",
        terms_pb2.AcceptTermsRequest(
            organization_id=ORG, version="2026-01", accepted_duties=["business-use", "usage-policy"]
        ),
    ),
    ("settings keys list", api_keys_pb2.ListApiKeysRequest(organization_id=ORG, page_size=500)),
    ("settings keys revoke apikey_1", api_keys_pb2.RevokeApiKeyRequest(api_key_id="apikey_1")),
]


@pytest.mark.parametrize(("line", "expected"), REQUESTS, ids=[line.split(" -")[0] for line, _ in REQUESTS])
@pytest.mark.parametrize("json_flag", ["", " --json"], ids=["table", "json"])
def test_command_line_becomes_request(
    line: str, expected: Message, json_flag: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT_INVITATION", "invitation")
    monkeypatch.setenv("KEPT_PASSWORD", "a long password")
    monkeypatch.setenv("KEPT_API_KEY", "an api key")
    assert main(shlex.split(line + json_flag)) == 0
    assert services.asked[-1][1] == expected


@pytest.mark.parametrize(
    "line",
    [
        f"access request --reason why --power operator -o {ORG}",  # both
        f"access request --reason why -o {ORG}",  # no purpose
        "access request --power operator",  # no reason
        "access request --power king --reason why",
        f"logs list -o {ORG} --record 0198c5a0-1c2b-4d3e-8f40-5a6b7c8d9e0f",  # a UUID, but none of version 7
        f"logs list -o {ORG} --from yesterday",
        f"logs list -o {ORG} --max-prompt-tokens 0",
        f"logs read -o {ORG} --min-generation-tokens -1",
        f"logs read -o {ORG} --min-prompt-tokens 3000000000",
        "logs read",
        "settings gateways register chat",
        "settings controls set",
        f"settings organizations update {ORG}",
        f"settings organizations update {ORG} --contract C-1 --no-contract",
        "usage show --as anna",
        "usage show --from yesterday",
        "settings controls show --as anna",  # staff have no organization of their own
        f"settings zdr decide {ZDR} --reason fine",  # neither approved nor denied
        "people agreement person_1 --signed 2026-01-01 --expires 2027-01-01",
        "people agreement person_1 --sha256 abcd --signed 2026-01-01 --expires 2027-01-01",
        "erasures show",
        "certificates get",
        "settings keys register bot --fingerprint 00",
        "settings terms accept",
        "settings terms accept --accept-all --accept business-use",
        "nonsense",
    ],
)
def test_wrong_command_line_asks_no_service(line: str, services: Services) -> None:
    assert main(shlex.split(line)) == 2
    assert services.asked == []


@pytest.mark.parametrize("output", [".", "/", "nowhere/file"])
@pytest.mark.parametrize(
    "line",
    [
        "export create --output",
        "settings subjects records subject_1 --grant grant_1 --output",
        "settings subjects export subject_1 --output",
        "audit export --output",
        "account export --output",
        "safety report 2026-03 --html",
        "safety evaluate evalset_1 --html",
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_a_service_is_asked(
    line: str,
    output: str,
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(f"{line} {output}")) == 2
    assert f"{output} cannot be written" in capsys.readouterr().err
    assert services.asked == []


def test_another_file_that_cannot_be_used_is_not_taken_for_the_output(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = tmp_path / "beside" / "sessions"

    def answer(*_: Any) -> Any:
        return sessions.mkdir()  # as a token is renewed, where there is no such folder

    monkeypatch.setattr(services, "answer", answer)
    assert main(["account", "export", "--output", str(tmp_path / "me.json")]) == 2
    assert f"{sessions} cannot be used" in capsys.readouterr().err
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize(
    "line",
    [
        "safety evaluate evalset_1 --controls latin1",
        "detectors test latin1",
        "detectors test nowhere",
        "detectors test text --draft nowhere",
        "detectors reload nowhere",
        "detectors reload .",
        "people agreement person_1 --signed 2026-01-01 --expires 2027-01-01 --document nowhere",
        "trust-center publish-subprocessors nested",
        "trust-center publish-subprocessors number",
        "certificates verify .",
        "audit verify nowhere",
    ],
)
def test_a_file_that_is_no_good_is_told_before_a_service_is_asked(
    line: str,
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "latin1").write_bytes("für alle".encode("latin-1"))
    (tmp_path / "text").write_text("a text")
    (tmp_path / "nested").write_text(f"subprocessors = {'[' * 5000}")
    (tmp_path / "number").write_text(f"subprocessors = {'9' * 5000}")
    Log().pin(tmp_path / "signing-keys.json")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert services.asked == []


def test_a_page_goes_where_it_is_to_go(
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.chdir(tmp_path)
    before, page = set(tmp_path.iterdir()), tmp_path / "page.html"
    for line in ("safety report 2026-03", "safety evaluate evalset_1"):
        assert main(shlex.split(f"{line} --html page.html")) == 0
        umask = os.umask(0)
        os.umask(umask)
        assert page.stat().st_mode & 0o777 == 0o666 & ~umask  # it is there to be forwarded
        capfdbinary.readouterr()
        assert main(shlex.split(f"{line} --html -")) == 0
        assert capfdbinary.readouterr().out == page.read_bytes()
    assert set(tmp_path.iterdir()) == before | {page}


def test_what_is_typed_and_no_text_is_a_usage_error(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["account", "forgot", "ada\udcff@acme.example"]) == 2
    assert main(["safety", "sets", "build", "--grant", "grant_\udcff"]) == 2
    monkeypatch.setenv("KEPT_PASSWORD", "secret\udcff")
    assert main(["login", "--as", "anna"]) == 2
    assert main(["account", "email", "ada@acme.example"]) == 2
    said = capsys.readouterr().err
    assert "$KEPT_PASSWORD is no UTF-8" in said
    assert "secret" not in said
    assert services.asked == []


def test_choices_are_the_contracts() -> None:
    for choices, enum, prefix in (
        (arguments.Purpose, grants_pb2.Purpose, "PURPOSE"),
        (arguments.Detail, grants_pb2.Detail, "DETAIL"),
        (arguments.GrantState, grants_pb2.GrantState, "GRANT_STATE"),
        (arguments.Power, roles_pb2.Power, "POWER"),
        (arguments.StaffRole, roles_pb2.StaffRole, "STAFF_ROLE"),
        (arguments.AgreementKind, directory_pb2.AgreementKind, "AGREEMENT_KIND"),
        (arguments.CustomerRole, roles_pb2.CustomerRole, "CUSTOMER_ROLE"),
        (arguments.Tier, organizations_pb2.Tier, "TIER"),
        (arguments.Deployment, organizations_pb2.Deployment, "DEPLOYMENT"),
        (arguments.CaseState, cases_pb2.CaseState, "CASE_STATE"),
        (arguments.Finding, cases_pb2.Decision, "DECISION"),
    ):
        numbers = {arguments.enum_value(enum, prefix, choice) for choice in choices}
        assert numbers == set(enum.values()) - {0}, prefix


def test_terms_say_which_they_are_and_what_is_not_accepted_yet(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = terms_pb2.GetEffectiveTermsResponse(
        terms=api_keys_pb2.TERMS_KIND_GENERAL,
        version="2",
        sentences=[terms_pb2.EffectiveTerm(commitment_id="C27", text="You are a trial.")],
        duties=[terms_pb2.Duty(name="business-use", text="For business.", accepted_version="1")],
    )
    services.answers["GetEffectiveTerms"] = answer
    assert main(["settings", "terms", "show"]) == 0
    shown = capsys.readouterr()
    assert "a trial: the general terms apply" in shown.out
    assert "You are a trial." in shown.out
    assert "Not everything is accepted" in shown.err
    assert main(["settings", "terms", "accept", "--accept-all"]) == 0
    assert services.asked[-1][1] == terms_pb2.AcceptTermsRequest(
        organization_id=ORG, version="2", accepted_duties=["business-use"]
    )
    capsys.readouterr()
    answer.terms, answer.duties[0].accepted_version = api_keys_pb2.TERMS_KIND_ENTERPRISE, "2"
    assert main(["settings", "terms", "show"]) == 0
    shown = capsys.readouterr()
    assert "under the enterprise commitments" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    "line",
    [
        f"show {ORG}",
        f"update {ORG} --tier trial --etag e",
        "create --name Acme --admin-email a@acme.test --tier trial",
    ],
)
def test_that_an_organization_is_a_trial_is_said(
    line: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    for tier in (organizations_pb2.TIER_TRIAL, organizations_pb2.TIER_PAYING):
        made = organizations_pb2.Organization(tier=tier)
        services.answers = {
            "GetOrganization": organizations_pb2.GetOrganizationResponse(organization=made),
            "UpdateOrganization": organizations_pb2.UpdateOrganizationResponse(organization=made),
            "CreateOrganization": organizations_pb2.CreateOrganizationResponse(organization=made),
        }
        assert main(shlex.split(f"settings organizations {line}")) == 0
        is_said = "fall under the general terms" in capsys.readouterr().err
        assert is_said is (tier == organizations_pb2.TIER_TRIAL)


def test_what_a_trial_key_means_is_said(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    key = api_keys_pb2.ApiKey(kind=interactions_pb2.API_KEY_KIND_TRIAL, terms=api_keys_pb2.TERMS_KIND_GENERAL)
    services.answers["RegisterApiKey"] = api_keys_pb2.RegisterApiKeyResponse(api_key=key)
    services.answers["ListApiKeys"] = api_keys_pb2.ListApiKeysResponse(api_keys=[key])
    assert main(["settings", "keys", "register", "bot", "--fingerprint", "ab" * 32]) == 0
    shown = capsys.readouterr()
    assert "falls under the general terms" in shown.err
    assert shown.out.split()[:4] == ["kind", "trial", "terms", "general"]
    assert main(["settings", "keys", "list"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["trial", "general"]


def test_set_controls_takes_the_current_etag(services: Services) -> None:
    services.answers["GetDataControls"] = data_controls_pb2.GetDataControlsResponse(
        controls=data_controls_pb2.DataControls(etag="now")
    )
    assert main(["settings", "controls", "set", "--training", "on"]) == 0
    assert services.asked[-1][1].etag == "now"


def test_an_update_takes_the_current_etag(services: Services) -> None:
    services.answers["GetOrganization"] = organizations_pb2.GetOrganizationResponse(
        organization=organizations_pb2.Organization(etag="organization-7")
    )
    assert main(["settings", "organizations", "update", ORG, "--usage", "on"]) == 0
    assert services.asked[-1][1] == organizations_pb2.UpdateOrganizationRequest(
        organization_id=ORG, etag="organization-7", usage_agreed=True
    )


def test_usage_is_shown_hour_by_hour(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    counts = usage_pb2.UsageCounts(hour=at(2027, 1, 1, 10), application="desk", model="m-1")
    counts.figures.calls, counts.figures.prompt_tokens = 41, 900
    services.answers["QueryUsage"] = usage_pb2.QueryUsageResponse(counts=[counts])
    assert main(["usage", "show"]) == 0
    shown = capsys.readouterr().out.split()
    assert {"2027-01-01", "10:00:00Z", "desk", "m-1", "41", "900"} <= set(shown)
    asked = services.asked[-1][1]
    assert asked.until_hour.seconds - asked.from_hour.seconds == 7 * 86_400
    assert asked.until_hour.seconds % 3600 == 0


def test_accept_all_accepts_each_by_name(services: Services) -> None:
    services.answers["GetAdditionalCommitments"] = zero_data_retention_pb2.GetAdditionalCommitmentsResponse(
        version="v2",
        commitments=[
            zero_data_retention_pb2.AdditionalCommitment(name=name, text="words") for name in ("one", "two")
        ],
    )
    assert main(["settings", "zdr", "request", "--accept-all"]) == 0
    request = services.asked[-1][1]
    assert (request.commitments_version, list(request.accepted_commitments)) == ("v2", ["one", "two"])
    assert main(["settings", "zdr", "request", "--accept-all", "--version", "v1"]) == 2


def test_read_takes_organization_and_detail_from_the_grant(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["GetGrant"] = grants_pb2.GetGrantResponse(
        grant=grants_pb2.Grant(data=scope(detail=grants_pb2.DETAIL_MASKED))
    )
    content = interactions_pb2.InteractionContent(
        prompt=[
            interactions_pb2.Message(
                role=interactions_pb2.MESSAGE_ROLE_USER,
                parts=[interactions_pb2.Part(text="line\nanother\x1b[2J \u202e")],
            )
        ],
        attributes={"ticket\u202e": "T-17\x1b[2J"},
    )
    services.answers["ReadInteractions"] = [
        read_pb2.ReadInteractionsResponse(
            record=read_pb2.InteractionRecord(
                record_id=RAW,
                model="m\x1b]0;x\x07",
                content=content,
                api_key_kind=interactions_pb2.API_KEY_KIND_TRIAL,
            ),
            cursor="c",
        )
    ]
    assert main(["logs", "read", "--grant", GRANT]) == 0
    request = services.asked[-1][1]
    assert (request.organization_id, request.detail) == (ORG, grants_pb2.DETAIL_MASKED)
    shown = capsys.readouterr().out
    assert RECORD in shown
    assert "another" in shown
    assert "ticket\ufffd: T-17" in shown
    assert "trial" in shown
    # What a record holds cannot drive the reader's terminal.
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}

    assert main(["logs", "read", "--grant", GRANT, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert document["record"]["record_id"] == RECORD
    assert document["record"]["content"]["prompt"][0]["parts"][0]["text"] == "line\nanother\x1b[2J \u202e"


def test_json_names_records_as_uuids_and_fields_as_the_contract(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    services.answers["ListHolds"] = holds_pb2.ListHoldsResponse(
        holds=[
            holds_pb2.Hold(hold_id="hold_1", record_ids=[RAW], lost=[RAW], state=holds_pb2.HOLD_STATE_ACTIVE)
        ]
    )
    assert main(["holds", "list", "--json"]) == 0
    (hold,) = json.loads(capsys.readouterr().out)["holds"]
    assert (hold["record_ids"], hold["lost"], hold["state"]) == ([RECORD], [RECORD], "HOLD_STATE_ACTIVE")


def test_a_list_that_is_refused_in_the_middle_shows_what_came(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record that came counts on the grant's budget."""
    answers: list[Any] = [
        read_pb2.ListInteractionsResponse(
            records=[read_pb2.InteractionRecord(record_id=RAW)], next_page_token="more"
        ),
        KeptError("BUDGET_EXHAUSTED", "The grant's budget of records is used up."),
    ]
    answer = services.answer

    def one_after_the_other(*asked: Any) -> Any:
        services.answers["ListInteractions"] = answers.pop(0)
        return answer(*asked)

    monkeypatch.setattr(services, "answer", one_after_the_other)
    assert main(["logs", "list", "--grant", GRANT, "-o", ORG, "--json", "--limit", "1000"]) == 1
    shown = capsys.readouterr()
    (record,) = json.loads(shown.out)["records"]
    assert record["record_id"] == RECORD
    assert "BUDGET_EXHAUSTED" in shown.err
    assert [request.page_token for _, request in services.asked] == ["", "more"]


def test_an_approval_is_of_what_was_read_before_it_and_says_what_that_was(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = grants_pb2.Grant(
        grant_id=GRANT,
        etag="grant-1",
        reason="garbled answers",
        duration=Duration(seconds=1800),
        data=scope(detail=grants_pb2.DETAIL_MASKED),
    )
    services.answers["GetGrant"] = grants_pb2.GetGrantResponse(grant=waiting)
    assert main(shlex.split(f"access approve {GRANT}")) == 0
    assert services.asked[-1] == (
        "ApproveGrant",
        grants_pb2.ApproveGrantRequest(grant_id=GRANT, etag="grant-1"),
    )
    assert f"Asked for was masked of {ORG} for 30 min: garbled answers" in capsys.readouterr().err
    waiting.extension.reason = "not found yet"
    waiting.extension.duration.seconds = 480 * 60
    services.answers["GetGrant"] = grants_pb2.GetGrantResponse(grant=waiting)
    main(shlex.split(f"access approve {GRANT}"))
    assert "Asked for were 8 h more: not found yet" in capsys.readouterr().err
    services.asked.clear()
    main(shlex.split(f"access approve {GRANT} --etag grant-0"))
    assert services.asked == [
        ("ApproveGrant", grants_pb2.ApproveGrantRequest(grant_id=GRANT, etag="grant-0"))
    ]


def test_wait_ends_with_the_decision(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    asked = grants_pb2.Grant(grant_id=GRANT, state=grants_pb2.GRANT_STATE_REQUESTED)
    services.answers["RequestGrant"] = grants_pb2.RequestGrantResponse(grant=asked)
    for state, code in ((grants_pb2.GRANT_STATE_APPROVED, 0), (grants_pb2.GRANT_STATE_DENIED, 1)):
        decided = grants_pb2.Grant(grant_id=GRANT, state=state)
        services.answers["WatchGrant"] = [
            grants_pb2.WatchGrantResponse(grant=grant) for grant in (asked, decided)
        ]
        line = ["access", "request", "--power", "operator", "--reason", "a customer", "--wait", "--json"]
        assert main(line) == code
        shown = json.loads(capsys.readouterr().out)
        assert shown["grant"]["state"] == grants_pb2.GrantState.Name(state)


def test_status_shows_own_grants_in_force(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    person = directory_pb2.Person(person_id="person_1", display_name="Anna")
    services.answers["GetMe"] = directory_pb2.GetMeResponse(person=person)
    services.answers["ListGrants"] = grants_pb2.ListGrantsResponse(
        grants=[
            grants_pb2.Grant(grant_id="grant_mine", requested_by="person_1"),
            grants_pb2.Grant(grant_id="grant_other", requested_by="person_2"),
        ]
    )
    assert main(["status", "--as", "anna"]) == 0
    shown = capsys.readouterr().out
    assert "Anna" in shown
    assert "grant_mine" in shown
    assert "grant_other" not in shown


def test_members_who_are_no_admins_have_no_grants_to_list(services: Services) -> None:
    services.answers["GetMe"] = directory_pb2.GetMeResponse(
        member_id="member_1", organization_id=ORG, customer_role=roles_pb2.CUSTOMER_ROLE_MEMBER
    )
    services.answers["ListGrants"] = KeptError("CALLER_NOT_ALLOWED", "No.", status="PERMISSION_DENIED")
    assert main(["status", "--json"]) == 0


def test_as_picks_the_identity_and_public_calls_have_none(services: Services) -> None:
    main(["keys", "status"])
    main(["keys", "status", "--as", "anna"])
    main(["settings", "zdr", "commitments"])
    assert services.identities == ["ada", "anna", None]
    assert main(["keys", "status", "--as", "nobody"]) == 1


def test_certificate_is_written_byte_for_byte(services: Services, tmp_path: Path) -> None:
    envelope = b'{"signed": "\xc3\xa9"}\r\n'
    services.answers["GetCertificate"] = certificates_pb2.GetCertificateResponse(envelope=envelope)
    file = tmp_path / "certificate.json"
    assert main(["certificates", "get", "certificate_1", "--output", str(file)]) == 0
    assert file.read_bytes() == envelope


def test_retention_run_waits_for_its_end(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kept.cli.retention.time.sleep", lambda _: None)
    services.answers["StartRun"] = runs_pb2.StartRunResponse(
        run=runs_pb2.Run(run_id="run_1", state=runs_pb2.RUN_STATE_DESTROYING_KEYS)
    )
    services.answers["GetRun"] = runs_pb2.GetRunResponse(
        run=runs_pb2.Run(run_id="run_1", state=runs_pb2.RUN_STATE_NOT_CERTIFIED)
    )
    assert main(["retention", "run", "--wait"]) == 1
    assert services.asked[-1][1].run_id == "run_1"


@pytest.mark.parametrize(
    "command",
    [
        f"logs list -o {ORG} --from 0001-01-01T00:00+05:00",
        f"logs list -o {ORG} --until 9999-12-31T23:30-05:00",
        f"usage show -o {ORG} --until 9999-12-31T23:30",
        f"usage show -o {ORG} --until 0001-01-02",
        f"usage show -o {ORG} --days --until 9999-12-31T00:00:01",
    ],
)
def test_times_at_the_ends_of_the_calendar_are_understood_or_refused(
    services: Services, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    assert "give" in capsys.readouterr().err
    assert services.asked == []

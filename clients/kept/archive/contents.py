"""What an organization takes along: everything that it put in or that is about it and that its admins may see, each part with the call it
comes from. Every list is read page by page, and written as it is read."""

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass

from kept.archive import access_log
from kept.client.documents import to_document
from kept.client.errors import KeptError
from kept.client.reading import each, read_records

# As much of usage as one question may be about, and of records as one answer may hold.
_USAGE_SPAN: Final = timedelta(days=92)
_RECORDS_AT_ONCE: Final = 2000
# An entry may name thousands of records: a page of these is a few mebibytes at most.
_ENTRIES_AT_ONCE: Final = 100
_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Part:
    """A part that is one call's answer, or its list. contract: "<service>.<file>". field: the list in the answer; empty where the answer is
    one document. meaning: what it is, for who opens the archive."""

    name: str
    contract: str
    service: str
    method: str
    field: str
    meaning: str


PARTS: Final = (
    Part(
        "organization",
        "settings.organizations",
        "OrganizationService",
        "GetOrganization",
        "",
        "what is agreed: tier, deployment, contracts, contacts",
    ),
    Part(
        "organization-changes",
        "settings.organizations",
        "OrganizationService",
        "ListOrganizationChanges",
        "changes",
        "what was agreed before, since when, entered by whom",
    ),
    Part(
        "usage-agreements",
        "settings.organizations",
        "OrganizationService",
        "ListUsageAgreements",
        "agreements",
        "whether usage counts may be sent, and since when",
    ),
    Part(
        "terms",
        "settings.organizations",
        "OrganizationService",
        "GetEffectiveTerms",
        "",
        "what applies, in sentences, with versions; what the organization accepted, who, when",
    ),
    Part(
        "data-controls",
        "settings.data_controls",
        "DataControlsService",
        "GetDataControls",
        "",
        "the controls as they are",
    ),
    Part(
        "data-controls-history",
        "settings.data_controls",
        "DataControlsService",
        "ListDataControlsHistory",
        "changes",
        "every change of a control: by whom, when, from when on",
    ),
    Part(
        "consent-history",
        "settings.policies",
        "PolicyService",
        "GetConsentHistory",
        "intervals",
        "when training was allowed, exactly",
    ),
    Part(
        "assisted-opt-outs",
        "settings.data_controls",
        "DataControlsService",
        "ListAssistedOptOuts",
        "opt_outs",
        "training turned off by the vendor's people where no admin could be reached",
    ),
    Part(
        "notification-addresses",
        "settings.data_controls",
        "DataControlsService",
        "GetNotificationAddresses",
        "",
        "who is written to about what",
    ),
    Part(
        "zero-data-retention",
        "settings.zero_data_retention",
        "ZeroDataRetentionService",
        "ListZeroDataRetentionRequests",
        "requests",
        "requests, what was accepted for them, decisions, ends",
    ),
    Part(
        "members",
        "settings.members",
        "MemberService",
        "ListMembers",
        "members",
        "the organization's people and their roles",
    ),
    Part(
        "invitations",
        "settings.members",
        "MemberService",
        "ListInvitations",
        "invitations",
        "invitations that wait",
    ),
    Part(
        "api-keys",
        "settings.api_keys",
        "ApiKeyService",
        "ListApiKeys",
        "api_keys",
        "API keys, by fingerprint; ended ones too",
    ),
    Part(
        "account-deletion",
        "settings.account",
        "AccountService",
        "GetAccountDeletion",
        "",
        "where the deletion of the organization is; null where none was asked for",
    ),
    Part(
        "contract-terms",
        "retention.contracts",
        "ContractService",
        "ListTerms",
        "terms",
        "how long a contract keeps the organization's records, now and before",
    ),
    Part(
        "cases",
        "safety_review.cases",
        "CaseService",
        "ListOwnCases",
        "cases",
        "cases of misuse that the organization may be told of",
    ),
    Part(
        "holds",
        "retention.holds",
        "HoldService",
        "ListHolds",
        "holds",
        "holds on the organization's data that it may be told of",
    ),
    Part(
        "grants",
        "access_control.grants",
        "GrantService",
        "ListGrants",
        "grants",
        "every grant on the organization's data: who, why, what, approved by whom",
    ),
)
MEANINGS: Final = {part.name: part.meaning for part in PARTS} | {
    "subject-requests": "requests of your end users, with the salts that show whose erasure a certificate is of",
    "subprocessor-objections": "objections to lists of sub-processors, replaced and taken back ones too",
    "certificates": "certificates of deletion, each verifiable by itself",
    "usage": "billing counts by hour, application and model",
    "records": "prompts and generations, as the grant covers them",
    "access-log": "who did what with your data, with proofs: docs/audit-log.md",
}


class Contents:
    """The parts of one organization. channel: to a service, as its admin. Every method raises KeptError."""

    def __init__(self, channel: Callable[[str], grpc.Channel], organization_id: str) -> None:
        self._channel = channel
        self._organization_id = organization_id

    def part(self, part: Part) -> Any:
        """A part of `PARTS`: one document, or an iterator of them where it is a list."""
        call, request = self._call(part.contract, part.service, part.method)
        if part.field:
            return self._listed(call, request, part.field)
        try:
            return to_document(call(request))
        except KeptError as error:
            if error.reason == "NOT_FOUND" and part.name == "account-deletion":
                return None
            raise

    def _call(self, contract: str, service: str, method: str) -> tuple[Callable[[Any], Any], Any]:
        """A method, and a request for it about the organization where it says which."""
        name, _, file = contract.partition(".")
        messages = importlib.import_module(f"kept.{name}.v1.{file}_pb2")
        stubs = importlib.import_module(f"kept.{name}.v1.{file}_pb2_grpc")
        declared = messages.DESCRIPTOR.services_by_name[service].methods_by_name[method]
        request: Any = GetMessageClass(declared.input_type)()
        if "organization_id" in request.DESCRIPTOR.fields_by_name:
            request.organization_id = self._organization_id
        return getattr(getattr(stubs, f"{service}Stub")(self._channel(name)), method), request

    @staticmethod
    def _listed(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[dict[str, Any]]:
        paged = "page_token" in request.DESCRIPTOR.fields_by_name
        items = each(call, request, field) if paged else getattr(call(request), field)
        return (to_document(item) for item in items)

    def subject_requests(self) -> Iterator[dict[str, Any]]:
        """All that is known of each; that it was taken along is in the audit log."""
        requests = "settings.subject_requests", "SubjectRequestService"
        call, wanted = self._call(*requests, "ListSubjectRequests")
        for found in each(call, wanted, "requests"):
            export, one = self._call(*requests, "ExportSubjectRequest")
            one.subject_request_id = found.subject_request_id
            yield to_document(export(one))

    def subprocessor_objections(self) -> Iterator[dict[str, Any]]:
        """To every list that there was, replaced and taken back ones too."""
        trust = "settings.trust", "TrustService"
        call, wanted = self._call(*trust, "ListSubprocessors")
        lists = call(wanted)
        # A settings from before `newest_version` leaves it empty.
        known = (lists.newest_version, lists.current.version, *(one.version for one in lists.upcoming))
        for version in range(1, max(known) + 1):
            objections, asked = self._call(*trust, "ListSubprocessorObjections")
            asked.version = version
            yield from self._listed(objections, asked, "objections")

    def certificates(self) -> Iterator[dict[str, Any]]:
        """Envelopes as they were signed."""
        service = "retention.certificates", "CertificateService"
        call, wanted = self._call(*service, "ListCertificates")
        for found in each(call, wanted, "certificates"):
            get, one = self._call(*service, "GetCertificate")
            one.certificate_id = found.certificate_id
            yield json.loads(get(one).envelope)

    def usage(self) -> Iterator[dict[str, Any]]:
        """Since the organization was created, hour by hour, until the hour that has begun by settings' clock."""
        organization, about = self._call("settings.organizations", "OrganizationService", "GetOrganization")
        terms, now = self._call("settings.organizations", "OrganizationService", "GetEffectiveTerms")
        begin = _hour(organization(about).organization.created_at.ToDatetime(tzinfo=UTC))
        end = _hour(terms(now).as_of.ToDatetime(tzinfo=UTC)) + _HOUR
        while begin < end:
            until = min(begin + _USAGE_SPAN, end)
            call, wanted = self._call("logging.usage", "UsageService", "QueryUsage")
            wanted.from_hour.FromDatetime(begin)
            wanted.until_hour.FromDatetime(until)
            yield from self._listed(call, wanted, "counts")
            begin = until

    def grant(self, grant_id: str) -> Any:
        """A grant of data."""
        call, wanted = self._call("access_control.grants", "GrantService", "GetGrant")
        wanted.grant_id = grant_id
        return call(wanted).grant

    def records(self, grant: Any, **filters: Any) -> Iterator[dict[str, Any]]:
        """The records that a grant covers, in its detail. filters: fields of RecordFilter."""
        from kept.logging.v1 import read_pb2, read_pb2_grpc

        wanted = read_pb2.ReadInteractionsRequest(
            grant_id=grant.grant_id,
            organization_id=self._organization_id,
            detail=grant.data.detail,
            batch_size=_RECORDS_AT_ONCE,
            filter=read_pb2.RecordFilter(**filters),
        )
        for answer in read_records(read_pb2_grpc.ReadServiceStub(self._channel("logging")), wanted):
            yield from map(to_document, answer.records)

    def access_log(self) -> Iterator[dict[str, Any]]:
        """Pages, as `kept audit export` has them."""
        from kept.access_control.v1 import audit_pb2_grpc

        stub = audit_pb2_grpc.AuditServiceStub(self._channel("access_control"))
        found = access_log.pages(stub, self._organization_id, 0, None, _ENTRIES_AT_ONCE)
        return map(access_log.page_document, found)


def _hour(instant: datetime) -> datetime:
    return instant - (instant - _EPOCH) % _HOUR

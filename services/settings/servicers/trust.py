"""TrustService."""

import grpc

from kept.settings.v1 import terms_pb2
from kept.settings.v1 import trust_pb2 as contract
from kept.settings.v1 import trust_pb2_grpc as contract_grpc
from services.settings.servicers.instants import timestamp
from services.settings.sources import Sources
from services.settings.store.subprocessors import Objection, Subprocessor
from services.settings.store.trust_documents import Document
from services.settings.store.trust_requests import TrustRequest
from services.settings.trust.documents import Requester, TrustDocuments
from services.settings.trust.subprocessors import Published, Subprocessors
from services.settings.trust.terms import Terms
from shared.fields import instant
from shared.pipeline import caller_of
from shared.redaction import Secret


def _document(document: Document) -> contract.TrustDocument:
    return contract.TrustDocument(
        document_id=document.document_id,
        kind=document.kind,
        title=document.title,
        version=document.version,
        visibility=document.visibility,
        link=document.link,
        sha256=document.sha256,
        published_at=timestamp(document.published_at),
        withdrawn_at=timestamp(document.withdrawn_at),
    )


def _request(request: TrustRequest, *, to_staff: bool) -> contract.TrustRequest:
    made = contract.TrustRequest(
        trust_request_id=request.trust_request_id,
        kind=request.kind,
        document_id=request.document_id or "",
        organization_id=request.organization_id or "",
        state=request.state,
        requested_at=timestamp(request.requested_at),
        decided_at=timestamp(request.decided_at),
        reason=request.reason,
        link=request.link,
    )
    if to_staff:
        made.requester.MergeFrom(
            contract.Requester(name=request.name, email=request.email, company=request.company)
        )
        made.decided_by = request.decided_by or ""
    return made


def _list(published: Published) -> contract.SubprocessorList:
    one, difference = published.list, published.difference
    return contract.SubprocessorList(
        version=one.version,
        subprocessors=[
            contract.Subprocessor(
                name=each.name, purpose=each.purpose, location=each.location, data=each.data
            )
            for each in one.subprocessors
        ],
        published_at=timestamp(one.published_at),
        effective_at=timestamp(one.effective_at),
        announced_at=timestamp(one.announced_at),
        added=difference.added,
        removed=difference.removed,
        changed=difference.changed,
    )


def _objection(objection: Objection) -> contract.SubprocessorObjection:
    return contract.SubprocessorObjection(
        organization_id=objection.organization_id,
        version=objection.version,
        reason=objection.reason,
        objected_by=objection.objected_by,
        objected_at=timestamp(objection.objected_at),
    )


def _requester(requester: contract.Requester, source: str) -> Requester:
    return Requester(
        name=requester.name,
        email=requester.email,
        company=requester.company,
        source=source,
    )


class TrustServicer(contract_grpc.TrustServiceServicer):
    """See the contract. general_terms: where these can be read."""

    def __init__(
        self,
        terms: Terms,
        documents: TrustDocuments,
        subprocessors: Subprocessors,
        sources: Sources,
        *,
        general_terms: str,
    ) -> None:
        self._terms = terms
        self._documents = documents
        self._subprocessors = subprocessors
        self._sources = sources
        self._general_terms = general_terms

    def GetContacts(
        self, request: contract.GetContactsRequest, context: grpc.ServicerContext
    ) -> contract.GetContactsResponse:
        contacts = self._terms.contacts
        return contract.GetContactsResponse(
            contacts=[
                terms_pb2.Contact(kind=terms_pb2.CONTACT_KIND_SUPPORT, address=contacts.support),
                terms_pb2.Contact(kind=terms_pb2.CONTACT_KIND_PRIVACY, address=contacts.privacy),
            ]
        )

    def GetCommitments(
        self, request: contract.GetCommitmentsRequest, context: grpc.ServicerContext
    ) -> contract.GetCommitmentsResponse:
        text = self._terms.text
        return contract.GetCommitmentsResponse(
            version=text.version,
            commitments=[
                contract.PublicCommitment(
                    commitment_id=one.commitment_id, group=one.group, text=one.promise, beyond=one.beyond
                )
                for one in text.commitments
            ],
            general_terms=self._general_terms,
        )

    def ListSubprocessors(
        self, request: contract.ListSubprocessorsRequest, context: grpc.ServicerContext
    ) -> contract.ListSubprocessorsResponse:
        current, upcoming, newest = self._subprocessors.current_and_upcoming()
        return contract.ListSubprocessorsResponse(
            current=None if current is None else _list(current),
            upcoming=[_list(one) for one in upcoming],
            newest_version=newest,
        )

    def ListDocuments(
        self, request: contract.ListDocumentsRequest, context: grpc.ServicerContext
    ) -> contract.ListDocumentsResponse:
        found = self._documents.list_newest(request.include_earlier)
        return contract.ListDocumentsResponse(documents=[_document(one) for one in found])

    def RequestDocument(
        self, request: contract.RequestDocumentRequest, context: grpc.ServicerContext
    ) -> contract.RequestDocumentResponse:
        asked = self._documents.request(
            caller_of(context),
            request.request_id,
            _requester(request.requester, self._sources.of(context.peer())),
            request.document_id,
        )
        return contract.RequestDocumentResponse(
            request=_request(asked.request, to_staff=False), claim=asked.claim.reveal()
        )

    def RequestDataProcessingAddendum(
        self, request: contract.RequestDataProcessingAddendumRequest, context: grpc.ServicerContext
    ) -> contract.RequestDataProcessingAddendumResponse:
        asked = self._documents.request_addendum(
            caller_of(context),
            request.request_id,
            _requester(request.requester, self._sources.of(context.peer())),
            request.deployment,
        )
        if asked is None:
            return contract.RequestDataProcessingAddendumResponse(required=False)
        return contract.RequestDataProcessingAddendumResponse(
            required=True, request=_request(asked.request, to_staff=False), claim=asked.claim.reveal()
        )

    def GetTrustRequest(
        self, request: contract.GetTrustRequestRequest, context: grpc.ServicerContext
    ) -> contract.GetTrustRequestResponse:
        found = self._documents.find_by_claim(Secret(request.claim))
        return contract.GetTrustRequestResponse(request=_request(found, to_staff=False))

    def ListTrustRequests(
        self, request: contract.ListTrustRequestsRequest, context: grpc.ServicerContext
    ) -> contract.ListTrustRequestsResponse:
        found, next_page = self._documents.page(
            request.include_decided, request.page_size, request.page_token
        )
        return contract.ListTrustRequestsResponse(
            requests=[_request(one, to_staff=True) for one in found], next_page_token=next_page
        )

    def DecideTrustRequest(
        self, request: contract.DecideTrustRequestRequest, context: grpc.ServicerContext
    ) -> contract.DecideTrustRequestResponse:
        decided = self._documents.decide(
            caller_of(context), request.trust_request_id, request.approve, request.reason, request.link
        )
        return contract.DecideTrustRequestResponse(request=_request(decided, to_staff=True))

    def PublishDocument(
        self, request: contract.PublishDocumentRequest, context: grpc.ServicerContext
    ) -> contract.PublishDocumentResponse:
        published = self._documents.publish(
            caller_of(context),
            request.kind,
            title=request.title,
            version=request.version,
            visibility=request.visibility,
            link=request.link,
            sha256=request.sha256,
        )
        return contract.PublishDocumentResponse(document=_document(published))

    def WithdrawDocument(
        self, request: contract.WithdrawDocumentRequest, context: grpc.ServicerContext
    ) -> contract.WithdrawDocumentResponse:
        withdrawn = self._documents.withdraw(caller_of(context), request.document_id)
        return contract.WithdrawDocumentResponse(document=_document(withdrawn))

    def PublishSubprocessors(
        self, request: contract.PublishSubprocessorsRequest, context: grpc.ServicerContext
    ) -> contract.PublishSubprocessorsResponse:
        published = self._subprocessors.publish(
            caller_of(context),
            request.request_id,
            [Subprocessor(one.name, one.purpose, one.location, one.data) for one in request.subprocessors],
            instant("effective_at", request.effective_at) if request.HasField("effective_at") else None,
        )
        return contract.PublishSubprocessorsResponse(list=_list(published))

    def WithdrawSubprocessors(
        self, request: contract.WithdrawSubprocessorsRequest, context: grpc.ServicerContext
    ) -> contract.WithdrawSubprocessorsResponse:
        withdrawn_at = self._subprocessors.withdraw(caller_of(context), request.version)
        return contract.WithdrawSubprocessorsResponse(withdrawn_at=timestamp(withdrawn_at))

    def ObjectToSubprocessors(
        self, request: contract.ObjectToSubprocessorsRequest, context: grpc.ServicerContext
    ) -> contract.ObjectToSubprocessorsResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        made = self._subprocessors.object_to(caller, request.organization_id, request.version, request.reason)
        return contract.ObjectToSubprocessorsResponse(objection=_objection(made))

    def ListSubprocessorObjections(
        self, request: contract.ListSubprocessorObjectionsRequest, context: grpc.ServicerContext
    ) -> contract.ListSubprocessorObjectionsResponse:
        caller = caller_of(context)
        found = self._subprocessors.objections(
            request.version, caller.organization_id if caller.is_customer else ""
        )
        return contract.ListSubprocessorObjectionsResponse(objections=[_objection(one) for one in found])

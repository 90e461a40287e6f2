"""SubjectRequestService."""

import grpc

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2
from kept.settings.v1 import subject_requests_pb2 as contract
from kept.settings.v1 import subject_requests_pb2_grpc as contract_grpc
from services.settings.servicers.instants import timestamp
from services.settings.store.subject_requests import SubjectRequest
from services.settings.subjects.requests import Passed, SubjectRequests
from shared.fields import instant
from shared.pipeline import caller_of


class SubjectRequestServicer(contract_grpc.SubjectRequestServiceServicer):
    """See the contract."""

    def __init__(self, subject_requests: SubjectRequests) -> None:
        self._subject_requests = subject_requests

    def CreateSubjectRequest(
        self, request: contract.CreateSubjectRequestRequest, context: grpc.ServicerContext
    ) -> contract.CreateSubjectRequestResponse:
        caller = caller_of(context)
        caller.require_organization(request.organization_id)
        made = self._subject_requests.create(
            caller,
            request.request_id,
            Passed(
                organization_id=request.organization_id,
                kind=request.kind,
                end_user=request.end_user,
                reference=request.reference,
                received_at=(
                    instant("received_at", request.received_at) if request.HasField("received_at") else None
                ),
            ),
        )
        return contract.CreateSubjectRequestResponse(request=self._message(made), records=self._records(made))

    def GetSubjectRequest(
        self, request: contract.GetSubjectRequestRequest, context: grpc.ServicerContext
    ) -> contract.GetSubjectRequestResponse:
        found = self._subject_requests.get(caller_of(context), request.subject_request_id)
        return contract.GetSubjectRequestResponse(request=self._message(found), records=self._records(found))

    def ListSubjectRequests(
        self, request: contract.ListSubjectRequestsRequest, context: grpc.ServicerContext
    ) -> contract.ListSubjectRequestsResponse:
        caller_of(context).require_organization(request.organization_id)
        found, next_page = self._subject_requests.page(
            request.organization_id, request.open_only, request.page_size, request.page_token
        )
        return contract.ListSubjectRequestsResponse(
            requests=[self._message(each) for each in found], next_page_token=next_page
        )

    def ExportSubjectRequest(
        self, request: contract.ExportSubjectRequestRequest, context: grpc.ServicerContext
    ) -> contract.ExportSubjectRequestResponse:
        found = self._subject_requests.export(caller_of(context), request.subject_request_id)
        return contract.ExportSubjectRequestResponse(
            request=self._message(found),
            records=self._records(found),
            subject_salt=found.salt or b"",
            subject_commitment=found.commitment or b"",
        )

    def CompleteSubjectRequest(
        self, request: contract.CompleteSubjectRequestRequest, context: grpc.ServicerContext
    ) -> contract.CompleteSubjectRequestResponse:
        completed = self._subject_requests.complete(
            caller_of(context), request.subject_request_id, request.withdrawn
        )
        return contract.CompleteSubjectRequestResponse(request=self._message(completed))

    def ExtendSubjectRequest(
        self, request: contract.ExtendSubjectRequestRequest, context: grpc.ServicerContext
    ) -> contract.ExtendSubjectRequestResponse:
        extended = self._subject_requests.extend(
            caller_of(context), request.subject_request_id, request.extension
        )
        return contract.ExtendSubjectRequestResponse(request=self._message(extended))

    def _message(self, request: SubjectRequest) -> contract.SubjectRequest:
        return contract.SubjectRequest(
            subject_request_id=request.subject_request_id,
            organization_id=request.organization_id,
            kind=request.kind,
            state=request.state,
            reference=request.reference,
            requested_by=request.requested_by,
            created_at=timestamp(request.created_at),
            received_at=timestamp(request.received_at),
            due_at=timestamp(request.due_at),
            overdue=self._subject_requests.is_overdue(request),
            extension=request.extension,
            reminders=request.reminders,
            ended_at=timestamp(request.ended_at),
            erasure_id=request.erasure_id or "",
            certificate_id=request.certificate_id or "",
            kept=request.kept,
        )

    def _records(self, request: SubjectRequest) -> contract.SubjectRecords | None:
        """The ready filter; None once it is not to be read any more."""
        if request.state != contract.SUBJECT_REQUEST_STATE_OPEN or request.end_user is None:
            return None
        is_find = request.kind == contract.SUBJECT_REQUEST_KIND_FIND
        return contract.SubjectRecords(
            organization_id=request.organization_id,
            filter=read_pb2.RecordFilter(end_user=request.end_user),
            detail=grants_pb2.DETAIL_METADATA if is_find else grants_pb2.DETAIL_FULL,
            note="" if is_find else self._subject_requests.content_note(request),
        )

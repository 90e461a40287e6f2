"""kept.retention.v1.ErasureService."""

from collections.abc import Callable

import grpc

from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from services.retention.erasures.content_states import ContentOrder
from services.retention.erasures.contents import ContentErasures
from services.retention.erasures.organizations import ErasureOrder, Erasures
from services.retention.erasures.subject_states import SubjectOrder
from services.retention.erasures.subjects import SubjectErasures
from services.retention.servicers import messages
from shared import fields
from shared.errors import KeptError, Reason, not_found
from shared.pipeline import caller_of


class ErasureServicer(erasures_pb2_grpc.ErasureServiceServicer):
    """Erasures: begun by settings, seen by operators, auditors and whoever has the claim."""

    def __init__(self, erasures: Erasures, subjects: SubjectErasures, contents: ContentErasures) -> None:
        self._erasures = erasures
        self._subjects = subjects
        self._contents = contents

    def EraseOrganization(
        self, request: erasures_pb2.EraseOrganizationRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.EraseOrganizationResponse:
        order = ErasureOrder(
            request.organization_id, request.account_deletion_id, request.confirmed_by, request.claim_sha256
        )
        begun = self._erasures.begin(order, caller_of(context).actor)
        return erasures_pb2.EraseOrganizationResponse(erasure=messages.erasure(begun))

    def EraseSubject(
        self, request: erasures_pb2.EraseSubjectRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.EraseSubjectResponse:
        order = SubjectOrder(
            request.request_id, request.organization_id, request.end_user, request.requested_by
        )
        begun = self._subjects.begin(order, caller_of(context).actor)
        return erasures_pb2.EraseSubjectResponse(
            erasure=messages.subject_erasure(begun), subject_salt=begun.erasure.salt
        )

    def EraseContent(
        self, request: erasures_pb2.EraseContentRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.EraseContentResponse:
        order = ContentOrder(
            request.request_id,
            request.organization_id,
            fields.instant("before", request.before),
            request.requested_by,
        )
        begun = self._contents.begin(order, caller_of(context).actor)
        return erasures_pb2.EraseContentResponse(erasure=messages.content_erasure(begun))

    def GetErasure(
        self, request: erasures_pb2.GetErasureRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.GetErasureResponse:
        return erasures_pb2.GetErasureResponse(erasure=self._of_any_kind(request.erasure_id))

    def _of_any_kind(self, erasure_id: str) -> erasures_pb2.Erasure:
        kinds: list[Callable[[], erasures_pb2.Erasure]] = [
            lambda: messages.erasure(self._erasures.get(erasure_id)),
            lambda: messages.subject_erasure(self._subjects.get(erasure_id)),
            lambda: messages.content_erasure(self._contents.get(erasure_id)),
        ]
        for shown in kinds:
            try:
                return shown()
            except KeptError as error:
                if error.reason != Reason.REASON_NOT_FOUND:
                    raise
        raise not_found("erasure")

    def GetErasureByClaim(
        self, request: erasures_pb2.GetErasureByClaimRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.GetErasureByClaimResponse:
        found = self._erasures.get_by_claim(request.claim)
        envelope = None if found.certificate is None else found.certificate.envelope
        return erasures_pb2.GetErasureByClaimResponse(
            erasure=messages.erasure(found), certificate=envelope or b""
        )

"""kept.retention.v1.ErasureService."""

import grpc

from kept.retention.v1 import erasures_pb2, erasures_pb2_grpc
from services.retention.erasures import ErasureOrder, Erasures
from services.retention.servicers import messages
from services.retention.subject_erasures import SubjectErasures
from services.retention.subject_states import SubjectOrder
from shared.errors import KeptError, Reason
from shared.pipeline import caller_of


class ErasureServicer(erasures_pb2_grpc.ErasureServiceServicer):
    """Erasures: begun by settings, seen by operators, auditors and whoever has the claim."""

    def __init__(self, erasures: Erasures, subjects: SubjectErasures) -> None:
        self._erasures = erasures
        self._subjects = subjects

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

    def GetErasure(
        self, request: erasures_pb2.GetErasureRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.GetErasureResponse:
        try:
            found = messages.erasure(self._erasures.get(request.erasure_id))
        except KeptError as error:
            if error.reason != Reason.REASON_NOT_FOUND:
                raise
            found = messages.subject_erasure(self._subjects.get(request.erasure_id))
        return erasures_pb2.GetErasureResponse(erasure=found)

    def GetErasureByClaim(
        self, request: erasures_pb2.GetErasureByClaimRequest, context: grpc.ServicerContext
    ) -> erasures_pb2.GetErasureByClaimResponse:
        found = self._erasures.get_by_claim(request.claim)
        envelope = None if found.certificate is None else found.certificate.envelope
        return erasures_pb2.GetErasureByClaimResponse(
            erasure=messages.erasure(found), certificate=envelope or b""
        )

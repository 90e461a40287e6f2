"""kept.safety_review.v1.ScreeningService."""

from collections.abc import Iterator

import grpc

from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.safety_review.detection.rescreening import Rescreenings
from services.safety_review.detection.screening import Screening, Submission
from services.safety_review.detection.texts import texts_of
from services.safety_review.store.verdicts import RecordKey


class ScreeningServicer(screening_pb2_grpc.ScreeningServiceServicer):
    """Answers each batch after its commit, in order."""

    def __init__(self, screening: Screening, rescreenings: Rescreenings) -> None:
        self._screening = screening
        self._rescreenings = rescreenings

    def Screen(
        self, request_iterator: Iterator[screening_pb2.ScreenRequest], context: grpc.ServicerContext
    ) -> Iterator[screening_pb2.ScreenResponse]:
        """See the contract."""
        for request in request_iterator:
            version, answers = self._screening.screen(list(map(_submission, request.interactions)))
            yield screening_pb2.ScreenResponse(
                records=[
                    screening_pb2.ScreenedRecord(
                        record_id=interaction.record_id,
                        verdict=answer.verdict,
                        rules_version=version,
                        not_screened_by=answer.not_screened_by,
                    )
                    for interaction, answer in zip(request.interactions, answers, strict=True)
                ]
            )

    def TakeRescreening(
        self, request: screening_pb2.TakeRescreeningRequest, context: grpc.ServicerContext
    ) -> screening_pb2.TakeRescreeningResponse:
        """See the contract."""
        taken = self._rescreenings.take()
        if taken is None:
            return screening_pb2.TakeRescreeningResponse()
        response = screening_pb2.TakeRescreeningResponse(
            grant_id=taken.grant_id, organization_id=taken.organization_id, after=taken.after
        )
        getattr(response, "from").FromDatetime(taken.created_from)
        response.until.FromDatetime(taken.created_until)
        return response

    def ReportRescreening(
        self, request: screening_pb2.ReportRescreeningRequest, context: grpc.ServicerContext
    ) -> screening_pb2.ReportRescreeningResponse:
        """See the contract."""
        self._rescreenings.report(
            request.grant_id,
            request.after,
            request.screened,
            request.left_out,
            done=request.done,
            problem=request.problem,
        )
        return screening_pb2.ReportRescreeningResponse()


def _submission(interaction: screening_pb2.ScreenedInteraction) -> Submission:
    texts = texts_of(interaction.content)
    key = RecordKey(interaction.organization_id, interaction.record_id)
    return Submission(key, texts.parts, interaction.end_user, texts.is_whole)

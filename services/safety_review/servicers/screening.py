"""kept.safety_review.v1.ScreeningService."""

from collections.abc import Iterator

import grpc

from kept.safety_review.v1 import screening_pb2, screening_pb2_grpc
from services.safety_review.screening import Screening, Submission
from services.safety_review.store.verdicts import RecordKey
from services.safety_review.texts import texts_of


class ScreeningServicer(screening_pb2_grpc.ScreeningServiceServicer):
    """Answers each batch after its commit, in order."""

    def __init__(self, screening: Screening) -> None:
        self._screening = screening

    def Screen(
        self, request_iterator: Iterator[screening_pb2.ScreenRequest], context: grpc.ServicerContext
    ) -> Iterator[screening_pb2.ScreenResponse]:
        """See the contract."""
        for request in request_iterator:
            version, answers = self._screening.screen(
                [
                    Submission(
                        RecordKey(interaction.organization_id, interaction.record_id),
                        texts_of(interaction.content),
                    )
                    for interaction in request.interactions
                ]
            )
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

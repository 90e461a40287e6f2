"""EvaluationTextService."""

from collections.abc import Iterator

import grpc

from kept.logging.v1 import evaluation_texts_pb2, evaluation_texts_pb2_grpc
from services.logging.reading.evaluation_texts import EvaluationTexts


class EvaluationTextServicer(evaluation_texts_pb2_grpc.EvaluationTextServiceServicer):
    """Masked texts for evaluation sets, for safety review."""

    def __init__(self, texts: EvaluationTexts) -> None:
        self._texts = texts

    def ReadMasked(
        self, request: evaluation_texts_pb2.ReadMaskedRequest, context: grpc.ServicerContext
    ) -> Iterator[evaluation_texts_pb2.ReadMaskedResponse]:
        """See the contract."""
        yield from self._texts.read(request.grant_id, request.person_id, context.is_active, context.cancel)

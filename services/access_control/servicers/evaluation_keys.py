"""EvaluationKeyService: protobuf in, protobuf out."""

import grpc

from kept.access_control.v1 import evaluation_keys_pb2, evaluation_keys_pb2_grpc
from services.access_control.custody.evaluation_keys import EvaluationKeys
from shared.fields import instant


class EvaluationKeyServicer(evaluation_keys_pb2_grpc.EvaluationKeyServiceServicer):
    """Keys of evaluation sets, for safety review."""

    def __init__(self, keys: EvaluationKeys) -> None:
        self._keys = keys

    def MakeEvaluationKey(
        self, request: evaluation_keys_pb2.MakeEvaluationKeyRequest, context: grpc.ServicerContext
    ) -> evaluation_keys_pb2.MakeEvaluationKeyResponse:
        key = self._keys.make(request.set_id, instant("ends_at", request.ends_at), request.person_id)
        return evaluation_keys_pb2.MakeEvaluationKeyResponse(key=key)

    def OpenEvaluationKey(
        self, request: evaluation_keys_pb2.OpenEvaluationKeyRequest, context: grpc.ServicerContext
    ) -> evaluation_keys_pb2.OpenEvaluationKeyResponse:
        return evaluation_keys_pb2.OpenEvaluationKeyResponse(
            key=self._keys.open(request.set_id, request.person_id)
        )

    def DestroyEvaluationKey(
        self, request: evaluation_keys_pb2.DestroyEvaluationKeyRequest, context: grpc.ServicerContext
    ) -> evaluation_keys_pb2.DestroyEvaluationKeyResponse:
        self._keys.destroy(request.set_id)
        return evaluation_keys_pb2.DestroyEvaluationKeyResponse()

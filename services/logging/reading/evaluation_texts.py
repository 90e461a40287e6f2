"""What safety review puts into an evaluation set: an upheld case's records, read like any other under a grant, and masked here. That a
text is its record's is so by construction: nobody hands it in."""

from collections.abc import Callable, Iterator
from typing import Final

from kept.access_control.v1 import authz_pb2_grpc, grants_pb2
from kept.logging.v1 import evaluation_texts_pb2, read_pb2
from services.logging.reading.granted import Question, Reading
from services.logging.reading.readers import EvaluationReader

_AT_ONCE: Final = 100


class EvaluationTexts:
    """Reads for evaluation sets."""

    def __init__(self, authz: authz_pb2_grpc.AuthzServiceStub, reading: Reading) -> None:
        self._authz = authz
        self._reading = reading

    def read(
        self, grant_id: str, person_id: str, is_active: Callable[[], bool], cancel: Callable[[], object]
    ) -> Iterator[evaluation_texts_pb2.ReadMaskedResponse]:
        """The masked content of what the grant covers, oldest first. Raises what `Reading.stream` does, and NOT_UPHELD."""
        reader = EvaluationReader(person_id)
        scope = reader.decide(self._authz, grant_id).scope
        question = Question(
            reader, grant_id, scope.organization_id, grants_pb2.DETAIL_MASKED, read_pb2.RecordFilter()
        )
        for batch in self._reading.stream(
            question, None, batch_size=_AT_ONCE, follow=False, is_active=is_active, cancel=cancel
        ):
            answer = evaluation_texts_pb2.ReadMaskedResponse(
                organization_id=scope.organization_id, case_id=scope.case_id
            )
            for record in batch.records:
                if record.HasField("content"):
                    answer.records.add(record_id=record.record_id, content=record.content)
            if answer.records:
                yield answer

"""What a model gateway does: it makes the record ids, sends over one stream in batches, and sends again what was not answered for."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from deploy.local.story.interactions import Sample
from deploy.local.story.stage import Stage
from kept.client.errors import KeptError
from kept.client.record_ids import RecordIds
from kept.logging.v1 import ingest_pb2, ingest_pb2_grpc, interactions_pb2

_BATCH: Final = 50

Poll = Callable[[str, Callable[[], Any]], Any]
"""Calls something until it gives a true value: poll(what, ready)."""


class Gateway:
    """The gateway that a local stack has, called by its certificate."""

    def __init__(self, stage: Stage) -> None:
        self.ids = RecordIds(stage.now)
        self._stub = stage.service("gateway/demo").stub(ingest_pb2_grpc.IngestServiceStub)

    def interaction(
        self, organization_id: str, sample: Sample, before: str = ""
    ) -> interactions_pb2.Interaction:
        """One interaction as a gateway has it when a generation has ended; `before` is put in front of the prompt."""
        made = interactions_pb2.Interaction(
            record_id=self.ids.mint(),
            organization_id=organization_id,
            application=sample.application or "story",
            model=sample.model or "story-1",
            end_user=sample.end_user,
            content=sample.content(before),
            prompt_tokens=len(sample.prompt) // 4,
            generation_tokens=len(sample.generation) // 4,
            finish_reason="stop",
        )
        made.latency.FromTimedelta(timedelta(milliseconds=300))
        return made

    def record(
        self, interactions: list[interactions_pb2.Interaction], poll: Poll
    ) -> list[ingest_pb2.Receipt]:
        """A receipt for each, in order. Raises KeptError when a whole stream is refused."""
        receipts: dict[bytes, ingest_pb2.Receipt] = {}

        def send() -> bool:
            pending = [one for one in interactions if one.record_id not in receipts]
            try:
                for answer in self._stub.RecordInteractions(_batches(pending)):
                    for receipt in answer.receipts:
                        if not receipt.retryable:
                            receipts[receipt.record_id] = receipt
            except KeptError as error:
                if not error.unreachable:  # what was not answered for is sent again
                    raise
            return len(receipts) == len(interactions)

        poll("recording", send)
        return [receipts[one.record_id] for one in interactions]


def _batches(pending: list[interactions_pb2.Interaction]) -> Iterator[ingest_pb2.RecordInteractionsRequest]:
    for start in range(0, len(pending), _BATCH):
        yield ingest_pb2.RecordInteractionsRequest(interactions=pending[start : start + _BATCH])

"""ReadService."""

from collections.abc import Iterator
from typing import Final

import grpc

from kept.access_control.v1 import grants_pb2
from kept.logging.v1 import read_pb2, read_pb2_grpc
from services.logging.reading import pages
from services.logging.reading.granted import Question, Reading
from services.logging.reading.readers import TokenReader
from shared.pipeline import caller_of

_DEFAULT_PAGE: Final = 100


class ReadServicer(read_pb2_grpc.ReadServiceServicer):
    """Where records are read, under a grant."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def ListInteractions(
        self, request: read_pb2.ListInteractionsRequest, context: grpc.ServicerContext
    ) -> read_pb2.ListInteractionsResponse:
        """See the contract."""
        question = _question(request, grants_pb2.DETAIL_METADATA, context)
        after = pages.decode_record_id(request.page_token, "page_token")
        answer, last = self._reading.page(question, after, request.page_size or _DEFAULT_PAGE)
        answer.next_page_token = pages.encode(last or b"")
        return answer

    def ReadInteractions(
        self, request: read_pb2.ReadInteractionsRequest, context: grpc.ServicerContext
    ) -> Iterator[read_pb2.ReadInteractionsResponse]:
        """See the contract."""
        question = _question(request, request.detail, context)
        after = pages.decode_record_id(request.cursor, "cursor")
        batches = self._reading.stream(
            question,
            after,
            batch_size=request.batch_size or 1,
            follow=request.follow,
            is_active=context.is_active,
            cancel=context.cancel,
        )
        for batch in batches:
            if request.batch_size:
                yield batch
            else:
                yield read_pb2.ReadInteractionsResponse(record=batch.records[0], cursor=batch.cursor)


def _question(
    request: read_pb2.ListInteractionsRequest | read_pb2.ReadInteractionsRequest,
    detail: "grants_pb2.Detail.ValueType",
    context: grpc.ServicerContext,
) -> Question:
    return Question(
        reader=TokenReader(caller_of(context).token),
        grant_id=request.grant_id,
        organization_id=request.organization_id,
        detail=detail,
        asked=request.filter,
    )

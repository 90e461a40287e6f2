"""Reading that goes on: lists page by page, and streams of records over connections that break.

A server that shuts down, or a connection that has reached its age, ends a stream with UNAVAILABLE; the reader opens it again after
the last cursor, so that nothing is read twice and nothing is left out.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.logging.v1 import read_pb2, read_pb2_grpc

_Response = TypeVar("_Response", bound=Message)
# Waits between attempts, in seconds; one success begins them anew.
PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)


def pages(call: Callable[[Any], _Response], request: Any, limit: int) -> _Response:
    """All pages of a list as one response of `limit` items at most.

    call: a stub's list method. request: with `page_size` and `page_token`, which are set here. The response's only repeated field is
    the list; its `next_page_token` is empty when the list ended within the limit.
    """
    whole: Any = None
    name = ""
    while True:
        taken = 0 if whole is None else len(getattr(whole, name))
        request.page_size = min(limit - taken, 500)
        page: Any = call(request)
        if whole is None:
            whole = page
            name = next(field.name for field in page.DESCRIPTOR.fields if field.is_repeated)
        else:
            getattr(whole, name).extend(getattr(page, name))
            whole.next_page_token = page.next_page_token
        if not page.next_page_token or len(getattr(whole, name)) >= limit:
            return whole  # type: ignore[no-any-return]
        request.page_token = page.next_page_token


def read_records(
    stub: "read_pb2_grpc.ReadServiceStub",
    request: "read_pb2.ReadInteractionsRequest",
    *,
    pauses: Iterable[float] = PAUSES,
    wait: Callable[[float], object] = time.sleep,
) -> "Iterator[read_pb2.ReadInteractionsResponse]":
    """The records of a read, one by one or in batches as the request says, with each broken stream opened again after its last cursor.
    Raises KeptError when that does not help, or the grant ends."""
    pauses = tuple(pauses)
    failures = 0
    while True:
        try:
            for response in stub.ReadInteractions(request):
                failures = 0
                request.cursor = response.cursor
                yield response
            return
        except KeptError as error:
            if error.status != "UNAVAILABLE" or failures == len(pauses):
                raise
            wait(pauses[failures])
            failures += 1

"""Reading that goes on: lists page by page, and streams of records over connections that break.

A server that shuts down, or a connection that has reached its age, ends a stream with UNAVAILABLE, and a token that ends meanwhile with
UNAUTHENTICATED; the reader opens it again after the last cursor, so that nothing is read twice and nothing is left out.
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


def each(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:
    """The items of a list in order, with no more than a page of them in memory. call, request: as `pages` has them. field: of the response,
    the list."""
    request.page_size = 500
    while True:
        page = call(request)
        yield from getattr(page, field)
        if not page.next_page_token:
            return
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
    for response in resumed(lambda: stub.ReadInteractions(request), pauses=pauses, wait=wait):
        request.cursor = response.cursor
        yield response


def resumed(
    open_: Callable[[], Iterable[_Response]],
    *,
    pauses: Iterable[float] = PAUSES,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[_Response]:
    """What a stream brings, opened again when it breaks, and when the token ends under which it was begun and has brought something. open_:
    opens it after the last response, which the caller has seen by then, with a token that is good. Raises KeptError when that does not
    help, or the stream fails for another reason."""
    pauses = tuple(pauses)
    failures = 0
    while True:
        brought = False
        try:
            for response in open_():
                failures, brought = 0, True
                yield response
            return
        except KeptError as error:
            if error.status == "UNAUTHENTICATED" and brought:
                continue
            if error.status != "UNAVAILABLE" or failures == len(pauses):
                raise
            wait(pauses[failures])
            failures += 1

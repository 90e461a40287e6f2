"""Reading that goes on: lists page by page, and streams of records over connections that break.

A server that shuts down, or a connection that has reached its age, ends a stream with UNAVAILABLE, and a token that ends meanwhile with
UNAUTHENTICATED; the reader opens it again after the last cursor, so that nothing is read twice and nothing is left out. A stream whose
grant ends while nobody takes what it sends ends with CANCELLED; opened again it says why, or goes on under a grant that was extended. A
read that follows sends again what came shortly before: records do not come in the order of their ids.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from kept.client.errors import KeptError

if TYPE_CHECKING:
    from kept.logging.v1 import read_pb2, read_pb2_grpc

# How far before the newest record a following read may begin again, in milliseconds: four times what the contract says.
_SENT_AGAIN_MS: Final = 120_000
_Response = TypeVar("_Response", bound=Message)
# Waits between attempts, in seconds; one success begins them anew.
PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)


def pages(
    call: Callable[[Any], _Response], request: Any, limit: int, whole: _Response | None = None
) -> _Response:
    """All pages of a list as one response of `limit` items at most.

    call: a stub's list method. request: with `page_size` and `page_token`, which are set here. The response's only repeated field is
    the list; its `next_page_token` is empty when the list ended within the limit. whole: an empty one, which has what came when a later
    page is refused.
    """
    gathered: Any = None
    name, taken = "", 0
    while True:
        request.page_size = min(limit - taken, 500)
        page: Any = call(request)
        if gathered is None:
            name = next(field.name for field in page.DESCRIPTOR.fields if field.is_repeated)
            gathered = type(page)() if whole is None else whole
            gathered.CopyFrom(page)
        else:
            getattr(gathered, name).extend(getattr(page, name))
            gathered.next_page_token = page.next_page_token
        taken = len(getattr(gathered, name))
        if not page.next_page_token or taken >= limit:
            return gathered  # type: ignore[no-any-return]
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
    sent = _Sent()
    for response in resumed(lambda: stub.ReadInteractions(request), pauses=pauses, wait=wait):
        request.cursor = response.cursor
        rest = sent.without(response) if request.follow else response
        if rest is not None:
            yield rest


class _Sent:
    """The records that a following read brought of late, by their ids (UUIDv7, RFC 9562: milliseconds since 1970 in the first 48 bits)."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()
        self._newest = b""
        self._forget_at = 0

    def without(
        self, response: "read_pb2.ReadInteractionsResponse"
    ) -> "read_pb2.ReadInteractionsResponse | None":
        """What of a response was not brought before; None where that is nothing."""
        if not response.records:
            return response if self._is_new(response.record.record_id) else None
        fresh = [record for record in response.records if self._is_new(record.record_id)]
        if len(fresh) == len(response.records):
            return response
        return type(response)(records=fresh, cursor=response.cursor) if fresh else None

    def _is_new(self, record_id: bytes) -> bool:
        if record_id in self._ids:
            return False
        self._ids.add(record_id)
        self._newest = max(self._newest, record_id)
        if len(self._ids) > self._forget_at:
            oldest = max(0, int.from_bytes(self._newest[:6]) - _SENT_AGAIN_MS).to_bytes(6)
            self._ids = {one for one in self._ids if one >= oldest}
            self._forget_at = 2 * len(self._ids) + 1000
        return True


def resumed(
    open_: Callable[[], Iterable[_Response]],
    *,
    pauses: Iterable[float] = PAUSES,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[_Response]:
    """What a stream brings, opened again when it breaks; and when it has brought something and its token ends, or the service waits no
    longer for somebody to take what it sends. open_: opens it after the last response, which the caller has seen by then, with a token that
    is good. Raises KeptError when that does not help, or the stream fails for another reason."""
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
            if error.status in ("UNAUTHENTICATED", "CANCELLED") and brought:
                continue
            if error.status != "UNAVAILABLE" or failures == len(pauses):
                raise
            wait(pauses[failures])
            failures += 1

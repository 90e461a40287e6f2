"""An organization's access log, page by page, as it is exported and verified (format: docs/audit-log.md)."""

import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from kept.client.documents import to_document

if TYPE_CHECKING:
    from kept.access_control.v1 import audit_pb2, audit_pb2_grpc

_PAGE: Final = 500


def pages(
    stub: "audit_pb2_grpc.AuditServiceStub",
    organization_id: str,
    after: int,
    limit: int | None,
    page_size: int = _PAGE,
) -> "Iterator[audit_pb2.ListEntriesResponse]":
    """Pages of entries with a greater number than `after`, until the list's end, or `limit` entries. page_size: at most 500."""
    from kept.access_control.v1 import audit_pb2

    taken = 0
    while True:
        size = page_size if limit is None else min(page_size, limit - taken)
        page = stub.ListEntries(
            audit_pb2.ListEntriesRequest(organization_id=organization_id, after_number=after, page_size=size)
        )
        yield page
        taken += len(page.entries)
        if page.complete or not page.entries or (limit is not None and taken >= limit):
            return
        after = page.entries[-1].number


def page_document(page: "audit_pb2.ListEntriesResponse") -> dict[str, Any]:
    """A page for a file: what each entry says, beside its exact bytes; verification holds the two against each other."""
    document = to_document(page)
    for entry in document["entries"]:
        body = base64.b64decode(entry["body"])
        entry["entry"] = json.loads(body) if body else None
    return document

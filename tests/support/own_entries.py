"""An audit log that plays along: a service's own entries, listed with their places in it as positions."""

from collections.abc import Sequence

from kept.access_control.v1 import audit_pb2


def listed(
    entries: Sequence[audit_pb2.AuditEntry], request: audit_pb2.ListOwnEntriesRequest
) -> audit_pb2.ListOwnEntriesResponse:
    """The page that was asked for."""
    first = request.after_position
    page = entries[first : first + (request.page_size or 100)]
    return audit_pb2.ListOwnEntriesResponse(
        entries=[
            audit_pb2.OwnEntry(entry=entry, position=position)
            for position, entry in enumerate(page, start=first + 1)
        ],
        position=first + len(page),
        complete=first + len(page) >= len(entries),
    )

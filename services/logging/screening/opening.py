"""Content opened for screening: access control says which, by the screening permission or under a grant, and writes it down."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import structlog

from kept.access_control.v1 import authz_pb2, grants_pb2
from services.logging.records import StoredRow
from services.logging.screening.asking import Screenable
from services.logging.sealing import Unsealable, open_content
from services.logging.store import reading
from shared.database import Database

# What is asked for together; in bytes as it is sealed, of which a few can be many once they are opened.
REOPEN_RECORDS: Final = 100
REOPEN_BYTES: Final = 256 * 1024
_log = structlog.get_logger(__name__)


def question_about(
    organization_id: str, rows: Sequence[StoredRow], grant_id: str = ""
) -> authz_pb2.OpenRecordsRequest:
    """What access control is asked to open for screening: with a grant under that, else by the permission alone."""
    sealed = {row.data_key_id or b"": (row.sealed_data_key or b"", row.lot) for row in rows}
    return authz_pb2.OpenRecordsRequest(
        permission=grants_pb2.SERVICE_PERMISSION_SCREENING,
        grant_id=grant_id,
        organization_id=organization_id,
        detail=grants_pb2.DETAIL_FULL,
        records=[
            authz_pb2.RecordReference(record_id=row.record_id, data_key_id=row.data_key_id or b"")
            for row in rows
        ],
        data_keys=[
            authz_pb2.SealedDataKey(data_key_id=data_key_id, sealed=sealed_key, application=application)
            for data_key_id, (sealed_key, application) in sealed.items()
        ],
    )


def unsealed(
    database: Database, organization_id: str, rows: Sequence[StoredRow], keys: Mapping[bytes, bytes]
) -> Iterator[Screenable]:
    """The contents of rows, of those that open, one after the other as they are taken: what compresses well is a thousand times larger
    than it was, and all of it at once would be our memory."""
    with database.transaction() as tx:
        contents = reading.contents(tx, organization_id, sorted(keys))
    for row in rows:
        try:
            content = open_content(
                contents.get(row.record_id, b""),
                keys.get(row.record_id, b""),
                organization_id,
                row.record_id,
                row.data_key_id or b"",
            )
        except Unsealable:
            _log.error("screening.content_does_not_open")
            continue
        yield Screenable(row.key, row.end_user, content)

"""Content opened for screening: access control says which, by the screening permission or under a grant, and writes it down."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from kept.access_control.v1 import authz_pb2, grants_pb2
from services.logging.records import StoredRow
from services.logging.screening.asking import Screenable
from services.logging.sealing import Unsealable, open_content
from services.logging.store import reading
from shared.database import Database

# What is opened together.
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
) -> list[Screenable]:
    """The contents of rows, of those that open."""
    with database.transaction() as tx:
        contents = reading.contents(tx, organization_id, sorted(keys))
    opened: list[Screenable] = []
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
        opened.append(Screenable(row.key, row.end_user, content))
    return opened

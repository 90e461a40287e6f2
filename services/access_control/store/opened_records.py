"""Which records were opened, under which grant or permission: each counts once."""

import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, LiteralString

from sqlalchemy import Column, Connection, DateTime, Integer, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from kept.access_control.v1 import grants_pb2
from services.access_control.store import metadata
from services.access_control.store.driver import working
from shared.driver import driver_of

opened_records = Table(
    "opened_records",
    metadata,
    # No foreign key: rows are added with the grant's own update, and to look it up for each of 500 would take longer than all the rest.
    Column("grant_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
# What was opened at once and lay behind all that the grant had opened in this way: so the pages of a grant are in order, and none reaches
# into another. Whatever else it opens (who goes back, or names records) has a row each.
opened_pages = Table(
    "opened_pages",
    metadata,
    Column("grant_id", Text, primary_key=True),
    # The first and the last that were asked for; of the ids between them only those that were new.
    Column("first_id", LargeBinary, primary_key=True),
    Column("last_id", LargeBinary, nullable=False),
    Column("record_ids", ARRAY(LargeBinary), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
permission_records = Table(
    "permission_records",
    metadata,
    Column("permission", Integer, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("times", Integer, nullable=False, server_default="1"),
)
# A process that dies with what it opened has screened nothing of it. So the same record may be opened again, but not before whoever opened
# it must have given up, and so often at most.
OPENED_AGAIN_AFTER: Final = timedelta(minutes=5)
OPENED_AT_MOST: Final = 3


# Who reads on opens what nobody opened before: one look at each index tells that nothing lies between the first and the last. Pages are in
# order: those that may hold a wanted one begin with the last that begins at or before the first wanted, and end with the last wanted.
_COUNT: Final[LiteralString] = """WITH known AS MATERIALIZED
  (SELECT record_id FROM opened_records WHERE grant_id = $1 AND record_id = ANY($2::bytea[]) AND
   (SELECT record_id FROM opened_records WHERE grant_id = $1 AND record_id >= $4 ORDER BY record_id LIMIT 1) <= $5
   UNION ALL
   SELECT unnest(record_ids) FROM opened_pages WHERE grant_id = $1 AND last_id >= $4 AND first_id <= $5 AND first_id >= coalesce(
     (SELECT first_id FROM opened_pages WHERE grant_id = $1 AND first_id <= $4 ORDER BY first_id DESC LIMIT 1), $4)),
new AS MATERIALIZED
  (SELECT id FROM unnest($2::bytea[]) AS wanted(id) WHERE id NOT IN (SELECT record_id FROM known)),
ahead AS MATERIALIZED
  (SELECT coalesce(
     (SELECT last_id < $4 FROM opened_pages WHERE grant_id = $1 ORDER BY first_id DESC LIMIT 1), true) AS of_all),
page AS
  (INSERT INTO opened_pages (grant_id, first_id, last_id, record_ids, opened_at)
   SELECT $1, $4, $5, array_agg(id), $3::timestamptz FROM new WHERE (SELECT of_all FROM ahead) HAVING count(*) > 0),
singly AS
  (INSERT INTO opened_records (grant_id, record_id, opened_at)
   SELECT $1, id, $3::timestamptz FROM new WHERE NOT (SELECT of_all FROM ahead))
UPDATE grants SET used = used + (SELECT count(*) FROM new) WHERE grant_id = $1 RETURNING used"""
# An array in the server's binary form: dimensions, whether there are nulls, the type of its items (bytea), how many, from which index.
_ARRAY: Final = struct.Struct(">iiIii")
_BYTEA: Final = 17
_ID: Final = struct.pack(">i", 16)


@contextmanager
def counting(
    tx: Connection, grant_id: str, record_ids: Collection[bytes], at: datetime
) -> Iterator[Callable[[], int]]:
    """Counts records as opened under a grant, each once. The database does so while the block goes on, which must not use the transaction;
    what the block is given waits for the answer: how many different ones there are now. The grant must be locked: that keeps others away,
    so that a look tells what is new, in half the time that ON CONFLICT takes."""
    if not record_ids:  # how many there were is over no budget
        yield lambda: 0
        return
    ids = _ARRAY.pack(1, 0, _BYTEA, len(record_ids), 1) + b"".join(
        _ID + record_id for record_id in record_ids
    )
    values = [
        (grant_id.encode(), False),
        (ids, True),
        (at.isoformat().encode(), False),
        (min(record_ids), True),
        (max(record_ids), True),
    ]
    with working(tx, _COUNT, values) as result:
        yield lambda: int(result().get_value(0, 0) or 0)


def count_records(tx: Connection, grant_id: str, record_ids: Collection[bytes], at: datetime) -> int:
    """The same, waited for."""
    with counting(tx, grant_id, record_ids, at) as used:
        return used()


def claim_records(
    tx: Connection,
    permission: "grants_pb2.ServicePermission.ValueType",
    record_ids: Collection[bytes],
    at: datetime,
) -> bool:
    """Uses a service's permission for these records. False where one of them was opened by it a moment before, or as often as it may be;
    roll back then."""
    claimed = (
        driver_of(tx)
        .execute(
            "INSERT INTO permission_records (permission, record_id, opened_at) "
            "SELECT %(permission)s, id, %(at)s FROM unnest(%(ids)b::bytea[]) AS wanted(id) "
            "ON CONFLICT (permission, record_id) DO UPDATE SET opened_at = excluded.opened_at, times = permission_records.times + 1 "
            "WHERE permission_records.opened_at <= %(before)s AND permission_records.times < %(most)s",
            # In one order whoever comes: else two that want the same could wait for each other.
            {
                "permission": int(permission),
                "at": at,
                "ids": sorted(record_ids),
                "before": at - OPENED_AGAIN_AFTER,
                "most": OPENED_AT_MOST,
            },
        )
        .rowcount
    )
    return claimed == len(record_ids)

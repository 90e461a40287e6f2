"""Which records were opened, under which grant or permission: each counts once."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

import psycopg
from sqlalchemy import Column, Connection, DateTime, Integer, LargeBinary, Table, Text

from kept.access_control.v1 import grants_pb2
from services.access_control.store import metadata

opened_records = Table(
    "opened_records",
    metadata,
    # No foreign key: rows are added with the grant's own update, and to look it up for each of 500 would take longer than all the rest.
    Column("grant_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)
permission_records = Table(
    "permission_records",
    metadata,
    Column("permission", Integer, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
    Column("opened_at", DateTime(timezone=True), nullable=False),
)


def count_records(tx: Connection, grant_id: str, record_ids: Collection[bytes], at: datetime) -> int:
    """Counts records as opened under a grant, each once, and returns how many different ones there are now. The grant must be locked."""
    driver = cast("psycopg.Connection[tuple[Any, ...]]", tx.connection.driver_connection)
    used: int = driver.execute(
        "WITH new AS (INSERT INTO opened_records (grant_id, record_id, opened_at) "
        "SELECT %(grant_id)s, id, %(at)s FROM unnest(%(ids)b::bytea[]) AS wanted(id) ON CONFLICT DO NOTHING RETURNING 1) "
        "UPDATE grants SET used = used + (SELECT count(*) FROM new) WHERE grant_id = %(grant_id)s RETURNING used",
        {"grant_id": grant_id, "at": at, "ids": list(record_ids)},
    ).fetchall()[0][0]
    return used


def claim_records(
    tx: Connection,
    permission: "grants_pb2.ServicePermission.ValueType",
    record_ids: Collection[bytes],
    at: datetime,
) -> bool:
    """Uses a service's permission up for these records. False where one of them was opened by it before; roll back then."""
    driver = cast("psycopg.Connection[tuple[Any, ...]]", tx.connection.driver_connection)
    claimed = driver.execute(
        "INSERT INTO permission_records (permission, record_id, opened_at) "
        "SELECT %(permission)s, id, %(at)s FROM unnest(%(ids)b::bytea[]) AS wanted(id) ON CONFLICT DO NOTHING",
        # In one order whoever comes: else two that want the same could wait for each other.
        {"permission": int(permission), "at": at, "ids": sorted(record_ids)},
    ).rowcount
    return claimed == len(record_ids)

"""Records whose keys are released to nobody though their epoch lives: those of erased end users. Whoever writes here holds the
organization's row; whether there are any at all stands in it (`organization_keys.withholds`), so that reading costs nothing where there
are none."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    LargeBinary,
    Table,
    Text,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.store import metadata
from services.access_control.store.custody import organization_keys
from services.access_control.store.epochs import LivingEpoch
from shared.driver import driver_of
from shared.ids import day_start, lowest_record_id

withheld_records = Table(
    "withheld_records",
    metadata,
    Column("organization_id", Text, primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
)
withholdings = Table(
    "withholdings",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("withheld_at", DateTime(timezone=True), nullable=False),
)


def add(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> int:
    """Withholds records of a locked organization; how many of them are new."""
    added = (
        driver_of(tx)
        .execute(
            "INSERT INTO withheld_records (organization_id, record_id) "
            "SELECT %(organization_id)s, id FROM unnest(%(ids)b::bytea[]) AS wanted(id) ON CONFLICT DO NOTHING",
            {"organization_id": organization_id, "ids": sorted(record_ids)},
        )
        .rowcount
    )
    if added:
        tx.execute(
            update(organization_keys)
            .where(organization_keys.c.organization_id == organization_id)
            .values(withholds=True)
        )
    return added


def among(tx: Connection, organization_id: str, record_ids: Collection[bytes]) -> set[bytes]:
    """Which of these are withheld."""
    found = driver_of(tx).execute(
        "SELECT record_id FROM withheld_records WHERE organization_id = %(organization_id)s "
        "AND record_id = ANY(%(ids)b::bytea[])",
        {"organization_id": organization_id, "ids": list(record_ids)},
    )
    return {bytes(row[0]) for row in found}


def after(tx: Connection, place: tuple[str, bytes], limit: int) -> list[tuple[str, bytes]]:
    """(organization, record) of what is withheld, in that order, after a place."""
    key = tuple_(withheld_records.c.organization_id, withheld_records.c.record_id)
    rows = tx.execute(
        select(withheld_records)
        .where(key > tuple_(literal(place[0], Text), literal(place[1], LargeBinary)))
        .order_by(withheld_records.c.organization_id, withheld_records.c.record_id)
        .limit(limit)
    )
    return [(row.organization_id, bytes(row.record_id)) for row in rows]


def note(tx: Connection, erasure_id: str, organization_id: str, records: int, at: datetime) -> None:
    """Adds to what an erasure withheld."""
    made = insert(withholdings).values(
        erasure_id=erasure_id, organization_id=organization_id, records=records, withheld_at=at
    )
    tx.execute(
        made.on_conflict_do_update(
            index_elements=["erasure_id"],
            set_={"records": withholdings.c.records + made.excluded.records, "withheld_at": at},
        )
    )


def noted(tx: Connection, erasure_id: str) -> tuple[int, datetime] | None:
    """How many records an erasure withheld so far, and when the last; None where none."""
    row = tx.execute(
        select(withholdings.c.records, withholdings.c.withheld_at).where(
            withholdings.c.erasure_id == erasure_id
        )
    ).one_or_none()
    return None if row is None else (row.records, row.withheld_at)


def forget(tx: Connection, marked: Sequence[LivingEpoch]) -> None:
    """Forgets what was withheld of days whose epochs are all destroyed: their tombstones refuse everything. Of which of a day's epochs a
    record is, is not written down. The organizations are locked."""
    bounds = [(lowest_record_id(day_start(epoch.day)), epoch) for epoch in marked]
    gone = driver_of(tx).execute(
        "DELETE FROM withheld_records USING unnest(%(ids)b::text[], %(days)b::date[], %(low)b::bytea[], %(high)b::bytea[]) "
        "AS gone(id, day, low, high) "
        "WHERE organization_id = gone.id AND record_id >= gone.low AND record_id < gone.high AND NOT EXISTS (SELECT FROM epoch_keys "
        "WHERE epoch_keys.organization_id = gone.id AND epoch_keys.day = gone.day AND epoch_keys.marked_at IS NULL) "
        "RETURNING organization_id",
        {
            "ids": [epoch.organization_id for _, epoch in bounds],
            "days": [epoch.day for _, epoch in bounds],
            "low": [low for low, _ in bounds],
            "high": [lowest_record_id(day_start(epoch.day) + timedelta(days=1)) for _, epoch in bounds],
        },
    )
    organizations = {str(row[0]) for row in gone}
    if organizations:
        left = select(withheld_records.c.organization_id).where(
            withheld_records.c.organization_id == organization_keys.c.organization_id
        )
        tx.execute(
            update(organization_keys)
            .where(organization_keys.c.organization_id.in_(sorted(organizations)), ~left.exists())
            .values(withholds=False)
        )

"""Tables and queries of the cases that grants can demand."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from services.access_control.grants.scope import Case
from services.access_control.store import metadata

cases = Table(
    "cases",
    metadata,
    Column("case_id", Text, primary_key=True),
    Column("organization_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("round", Integer, nullable=False, server_default="1"),
)
case_records = Table(
    "case_records",
    metadata,
    Column("case_id", Text, ForeignKey("cases.case_id"), primary_key=True),
    Column("record_id", LargeBinary, primary_key=True),
)


def put_case(
    tx: Connection, case_id: str, organization_id: str, record_ids: Collection[bytes], at: datetime, turn: int
) -> Case:
    """Makes a case known, or replaces the records of an open one. turn: how often it was opened; a higher one than known opens it again.
    Returns it as it is, its organization included."""
    tx.execute(
        insert(cases)
        .values(case_id=case_id, organization_id=organization_id, state="open", opened_at=at, round=turn)
        .on_conflict_do_nothing()
    )
    tx.execute(
        update(cases)
        .where(cases.c.case_id == case_id, cases.c.organization_id == organization_id, cases.c.round < turn)
        .values(state="open", closed_at=None, round=turn)
    )
    found = case(tx, case_id, lock=True)
    assert found is not None
    if found.organization_id == organization_id:
        tx.execute(delete(case_records).where(case_records.c.case_id == case_id))
        if record_ids:
            tx.execute(
                insert(case_records).on_conflict_do_nothing(),
                [{"case_id": case_id, "record_id": record_id} for record_id in record_ids],
            )
    return found


def case(tx: Connection, case_id: str, *, lock: bool = False) -> Case | None:
    """A case."""
    query = select(cases).where(cases.c.case_id == case_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Case(row.case_id, row.organization_id, row.state)


def set_case_state(tx: Connection, case_id: str, state: str, closed_at: datetime | None) -> None:
    """Closes or reopens a case."""
    tx.execute(update(cases).where(cases.c.case_id == case_id).values(state=state, closed_at=closed_at))


def records_of_case(tx: Connection, case_id: str) -> frozenset[bytes]:
    """All records of a case."""
    return frozenset(
        tx.execute(select(case_records.c.record_id).where(case_records.c.case_id == case_id)).scalars()
    )
